#!/usr/bin/env python3
"""How long a running node takes to set a number, beside a bare fdatasync of its disk.

    durable.py ADMIN DATA_DIR EACH SECONDS
"""

import itertools
import os
import sys
import threading
import time

from changes import Node, middle


def timed(what, took):
    sent = time.monotonic()
    what()
    took.append(time.monotonic() - sent)


def in_turn(folder, count, what):
    """A sync of what was appended, one of what was written anew where the file was long enough (as a log that is used again
    is), and the other: one after another, so that what else the disk has to do is the same for all."""
    paths = [os.path.join(folder, name) for name in ("appended", "again")]
    appended, again = (os.open(path, os.O_CREAT | os.O_WRONLY, 0o640) for path in paths)
    page, took = bytes(4096), ([], [], [])
    os.write(again, bytes(4096 * count))
    os.fsync(again)
    for n in range(count):
        timed(lambda: (os.write(appended, page), os.fdatasync(appended)), took[0])
        timed(lambda: (os.pwrite(again, page, 4096 * n), os.fdatasync(again)), took[1])
        timed(lambda: what(n), took[2])
    for file, path in zip((appended, again), paths):
        os.close(file)
        os.remove(path)
    return took


def put(node, n, is_new):
    condition = {"If-None-Match": "*"} if is_new else {"If-Match": "*"}
    body = {"ring": ["alice"], "label": f"Listing {n}", "timeout": 20}
    status, _, text = node.ask("PUT", f"/v1/numbers/1{9_100_000_000 + n}", body, condition)
    if status != (201 if is_new else 200):
        raise SystemExit(f"{n}: {status} {text[:300]}")


def rate(admin, clients, seconds, first, is_new, most=None):
    """How many a second, and which is the next that was not set."""
    numbers, until, done, failed = itertools.count(first), time.monotonic() + seconds, [0] * clients, []

    def client(me):
        # Whatever ends one before its time: a figure without it would be one of fewer clients.
        try:
            node = Node(admin)
            while time.monotonic() < until:
                # Nobody changes the same number as another.
                n = next(numbers) if is_new else first + (me + done[me] * clients) % most
                put(node, n, is_new)
                done[me] += 1
        except (Exception, SystemExit) as why:
            failed.append(f"{type(why).__name__}: {why}")

    threads = [threading.Thread(target=client, args=(me,)) for me in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed or not all(done):
        raise SystemExit(f"{clients} clients: {failed[0] if failed else 'one of them has set nothing'}")
    return sum(done) / (time.monotonic() - begun), next(numbers)


def main(admin, folder, count, seconds):
    count, seconds, node = int(count), float(seconds), Node(admin)
    for name, is_new in (("new", True), ("again", False)):
        appended, again, puts = in_turn(folder, count, lambda n: put(node, n, is_new))
        print(f"  fdatasync of 4 KiB, appended: {middle(appended)}")
        print(f"  fdatasync of 4 KiB, again:    {middle(again)}")
        print(f"  a number set, {name + ':':7}         {middle(puts)}", flush=True)
    first = count
    for clients in (1, 8, 64):
        new, last = rate(admin, clients, seconds, first, True)
        # As many as all clients share evenly: each has its own.
        most = max(clients, (last - first) // clients * clients)
        again, _ = rate(admin, clients, seconds, first, False, most)
        print(f"  {clients:2} clients: {new:.0f} a second, new; {again:.0f} a second, again", flush=True)
        first = last


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
