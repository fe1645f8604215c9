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


def each(count, what):
    took = []
    for n in range(count):
        sent = time.monotonic()
        what(n)
        took.append(time.monotonic() - sent)
    return took


def sync(folder, count):
    path = os.path.join(folder, "bench")
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o640)
    page = bytes(4096)
    try:
        return each(count, lambda _: (os.write(file, page), os.fdatasync(file)))
    finally:
        os.close(file)
        os.remove(path)


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
        node = Node(admin)
        while time.monotonic() < until:
            # Nobody changes the same number as another.
            n = next(numbers) if is_new else first + (me + done[me] * clients) % most
            try:
                put(node, n, is_new)
            except SystemExit as why:
                failed.append(why)
                return
            done[me] += 1

    threads = [threading.Thread(target=client, args=(me,)) for me in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sum(done) / (time.monotonic() - begun), next(numbers)


def main(admin, folder, count, seconds):
    count, seconds, node = int(count), float(seconds), Node(admin)
    print(f"  fdatasync of 4 KiB: {middle(sync(folder, count))}")
    print(f"  set, new:           {middle(each(count, lambda n: put(node, n, True)))}")
    print(f"  set, again:         {middle(each(count, lambda n: put(node, n, False)))}")
    print(f"  fdatasync of 4 KiB: {middle(sync(folder, count))}")
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
