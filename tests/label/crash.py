"""Stop each action on a folder of answers at each of its writes, by a kill or an error, and look at what is left.

    python crash.py FOLDER STEP

A limit on the size of files makes every write at or beyond it fail: with a signal that kills, or with an error, as on
a full disk. The limit goes up by STEP bytes.
"""

import json
import os
import resource
import shutil
import signal
import sys
from collections import Counter
from itertools import product

from sktip._label.files import write_labels
from sktip._label.store import NONE, Store

ACTIONS = {
    "answer": lambda store, p: store.give({p[40]: ["fox"]}),
    "change": lambda store, p: store.give({p[0]: ["deer"], p[1]: [NONE]}),
    "batch": lambda store, p: store.give(dict.fromkeys(p[30:], ("hare",)), bulk=True),
    "undo": lambda store, p: store.undo(store.last),
    "add": lambda store, _: store.add_class("wolf"),
    "rename": lambda store, _: store.rename_class("fox", "vulpes"),
    "remove": lambda store, _: store.remove_class("deer"),
    "merge": lambda store, _: store.merge_classes("deer", "fox"),
    "order": lambda store, _: store.order_classes(["hare", "deer"]),
    "table": lambda store, _: write_labels(store),
}


def opened(folder):
    """The answers in a folder, after the same change that can be undone."""
    store = Store(folder)
    paths = [os.path.join(folder, f"{number:060}.png") for number in range(60)]
    store.last = store.give({path: ["hare"] for path in paths[10:30]})
    return store, paths


def state_of(store):
    return store.classes, store.answers


def meaning(state):
    """Classes and labels; their numbers are those of the answers so far."""
    classes, answers = state
    return classes, {os.path.basename(path): own.labels for path, own in answers.items()}


def act(folder, action, limit, kill, pipe):
    """Act in a child process; say in the pipe what has happened."""
    store, paths = opened(folder)
    before = meaning(state_of(store))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        action(store, paths)
        os.write(pipe, b"done")
    except OSError:
        assert meaning(state_of(store)) == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        action(store, paths)  # There is room again.
        os.write(pipe, b"failed, then done")


def main(folder, step):
    first = os.path.join(folder, "first")
    os.mkdir(first)
    store = Store(first)
    store.open_classes(["fox", "deer", "hare"])
    store.give({f"{first}/{number:060}.png": [("fox", "deer")[number % 2]] for number in range(20)})
    write_labels(store)
    store.close()
    largest = max(entry.stat().st_size for entry in os.scandir(first))
    said, problems = Counter(), []
    for name, kill, limit in product(ACTIONS, (True, False), range(0, largest + step, step)):
        copy = os.path.join(folder, "copy")
        shutil.copytree(first, copy)
        whole = os.path.join(folder, "whole")
        shutil.copytree(first, whole)
        store, paths = opened(whole)
        before = meaning(state_of(store))
        ACTIONS[name](store, paths)
        after = meaning(state_of(store))
        store.close()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                act(copy, ACTIONS[name], limit, kill, writing)
            finally:
                os._exit(0)
        os.close(writing)
        answer = os.read(reading, 100).decode()
        os.close(reading)
        _, status = os.waitpid(child, 0)
        said[answer or ("killed" if os.WIFSIGNALED(status) else "crashed")] += 1
        store = Store(copy)
        found = meaning(state_of(store))
        ok = found == after if answer else found in (before, after) and os.WIFSIGNALED(status)
        for known in store.classes:
            store.give({f"{copy}/new.png": [known]})
            store.rename_class(known, f"{known} 2")
        write_labels(store)
        store.close()
        if not ok:
            problems.append([name, kill, limit, answer, status])
        shutil.rmtree(copy)
        shutil.rmtree(whole)
    print(json.dumps({"said": said, "problems": problems}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
