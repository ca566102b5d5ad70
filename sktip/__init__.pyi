# The public names of sktip and their modules: read by type checkers, and by __init__.py.
from . import base as base
from . import datasets as datasets
from . import distributed as distributed
from . import exceptions as exceptions
from . import export as export
from . import inspection as inspection
from . import model_selection as model_selection
from . import prompts as prompts
from . import utils as utils
from ._back_off import BackOff as BackOff
from ._clip_adapter import CLIPAdapterClassifier as CLIPAdapterClassifier
from ._encoder import CLIPFeatureTransformer as CLIPFeatureTransformer
from ._encoder import JointEncoder as JointEncoder
from ._encoder import TimmFeatureTransformer as TimmFeatureTransformer
from ._encoding.memory import FeatureMemory as FeatureMemory
from ._encoding.model import clear_model_cache as clear_model_cache
from ._few_shot import FewShotClassifier as FewShotClassifier
from ._few_shot_tagger import FewShotTagger as FewShotTagger
from ._gda import GDAClassifier as GDAClassifier
from ._images.crop import Crop as Crop
from ._predict_images import predict_images as predict_images
from ._proker import ProKeRClassifier as ProKeRClassifier
from ._rank_images import rank_images as rank_images
from ._reject_unknown import RejectUnknown as RejectUnknown
from ._tip_adapter import TipAdapterClassifier as TipAdapterClassifier
from ._tip_adapter_cv import TipAdapterClassifierCV as TipAdapterClassifierCV
from ._utils.show_versions import show_versions as show_versions
from ._zero_shot import ZeroShotClassifier as ZeroShotClassifier

__version__: str
