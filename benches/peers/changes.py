#!/usr/bin/env python3
"""Changes numbers of a running node, and reloads its files, and says afterwards whether each call was routed as it had to be.

    changes.py write TABLE DIDS ROUND               writes the table of these numbers as the reload of that round reads it
    changes.py change ADMIN TABLE DIDS RATE LOG     changes them, RATE a second, and reloads, until SIGTERM; the tables
                                                    numbers-*.csv beside it are touched; logs what was answered
    changes.py compare LOG DIDS CDRS CALLS          compares each record with what its generation had of its number; there
                                                    is one at least of each call, of which there were so many
    changes.py scrape ADMIN TEXT                    writes its metrics down
    changes.py repeated NAME BEFORE AFTER           strowger_sip_retransmissions_total between two scrapes
    changes.py calls NAME STAT CALLS                what SIPp's -trace_stat says of so many calls; without CALLS, of those
                                                    that it was called by
    changes.py setup NAME BEFORE AFTER [RTT]        strowger_setup_seconds between two scrapes, and SIPp's response times
    changes.py ratio (BEFORE BETWEEN AFTER)…        of the 99th percentile, the second run to the first, by the medians of all

A number's account names the change, or the round, that it is of. The exit status is 1 where anything is not as it has to be, and
where nothing was there that could have been; the ratio is for people to judge.
"""

import bisect
import calendar
import glob
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time

FORWARD = "+442055550199"
# Seconds that a reload may take after the node has said that it takes long: ten million numbers take less than one minute.
PATIENCE = 600


def lines(path):
    with open(path) as file:
        return file.read().split()


def write(table, dids, round):
    with open(table, "w") as file:
        file.write("did,label,forward_to,timeout,account\n")
        file.writelines(f"{did},Round {round},{FORWARD},20,round {round}\n" for did in lines(dids))


class Node:
    """One connection that is kept."""

    def __init__(self, admin):
        host, port = admin.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=600)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method, path, body=None, headers={}):
        body = None if body is None else json.dumps(body).encode()
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()


def change(admin, table, dids, rate, log):
    """Logs [when it was answered, generation, number or null for the files, account or null for what the files say]."""
    numbers, rate, ended = lines(dids), float(rate), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    out, failed, took, reloads = open(log, "a"), [], [], []

    # Whatever ends a thread before its time is a failure, and is told.
    def told(what, work):
        def run():
            try:
                work()
            except Exception as why:
                failed.append(f"{what}: {type(why).__name__}: {why}")

        return threading.Thread(target=run)

    # Two threads write; a line is one's alone.
    writing = threading.Lock()

    def answered(generation, did, account):
        with writing:
            out.write(json.dumps([time.time(), int(generation), did, account]) + "\n")

    def change_numbers():
        node, begun, set_over_http, done = Node(admin), time.monotonic(), set(), 0
        while not ended.wait(max(0.0, begun + done / rate - time.monotonic())):
            did = numbers[done * 7 % len(numbers)]
            done += 1
            path, headers = "/v1/numbers/" + did[1:], {"If-Match": "*"}
            sent = time.monotonic()
            if did in set_over_http and done % 10 == 0:
                set_over_http.discard(did)
                status, head, text = node.ask("DELETE", path + "?to=files", None, headers)
                account = None
            else:
                set_over_http.add(did)
                account = f"change {done}"
                body = {"forward_to": FORWARD, "timeout": 20, "account": account}
                status, head, text = node.ask("PUT", path, body, headers)
            took.append(time.monotonic() - sent)
            if status != 200:
                return failed.append(f"{did}: {status} {text[:300]}")
            answered(head["strowger-generation"], did, account)

    def reload():
        node, round = Node(admin), 0
        while not ended.is_set():
            round += 1
            write(table, dids, round)
            for other in glob.glob(os.path.join(os.path.dirname(table), "numbers-*.csv")):
                os.utime(other)
            sent = time.monotonic()
            status, _, text = node.ask("POST", "/v1/reload", None, {"Strowger-By": f"round {round}"})
            # Who is told that it takes too long finds it published in the end.
            generation = json.loads(text)["generation"] if status == 200 else None
            while status == 503 and generation is None and time.monotonic() < sent + PATIENCE:
                time.sleep(0.2)
                items = json.loads(node.ask("GET", "/v1/generations?limit=1000")[2])["items"]
                generation = next((item["generation"] for item in items if item["by"] == f"round {round}"), None)
            if generation is None:
                return failed.append(f"reload {round}: {status} {text[:300]}")
            reloads.append(time.monotonic() - sent)
            answered(generation, None, f"round {round}")

    threads = [told("reloads", reload)] + ([told("changes", change_numbers)] if rate else [])
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.monotonic() - begun
    if took:
        print(f"{len(took)} changes, {len(took) / lasted:.0f} a second: {middle(took)}")
    if reloads:
        print(f"{len(reloads)} reloads: {middle(reloads)}")
    if rate and not took:
        failed.append("no number was changed")
    if not reloads:
        failed.append("nothing was reloaded")
    fail(failed)


def fail(what):
    """Ends, and says what is wrong, if anything is."""
    for line in what:
        print(line, file=sys.stderr)
    sys.exit(1 if what else 0)


def middle(seconds):
    at = sorted(seconds)
    p99 = at[min(len(at) - 1, len(at) * 99 // 100)]
    return f"median {at[len(at) // 2] * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, at most {at[-1] * 1e3:.1f} ms"


def compare(log, dids, cdrs, calls):
    with open(log) as file:
        events = [json.loads(line) for line in file]
    failed = [] if events else ["no change and no reload was answered: there is nothing to compare with"]
    at_start, by_number = [(0, "round 0")], {did: [] for did in lines(dids)}
    for _, generation, did, account in sorted(events, key=lambda event: event[1]):
        (at_start if did is None else by_number[did]).append((generation, account))
    # The latest generation that had been answered by then.
    whens, newest = [], []
    for when, generation, _, _ in sorted(events):
        whens.append(when)
        newest.append(max(generation, newest[-1] if newest else 0))

    def in_force(list, generation):
        place = bisect.bisect_right(list, generation, key=lambda event: event[0])
        return list[place - 1][1] if place else None

    records, compared, wrong, late, generations = 0, 0, 0, 0, set()
    for path in glob.glob(cdrs + "/*.jsonl"):
        for line in open(path):
            record = json.loads(line)
            records += 1
            generation, did = record["generation"], record["did"]
            expected = ""
            if did in by_number:
                expected = in_force(by_number[did], generation) or in_force(at_start, generation)
                compared += 1
                generations.add(generation)
            if record["account"] != expected:
                wrong += 1
                if wrong <= 5:
                    print(f"{did} in generation {generation} was {expected!r}, and its record says {record['account']!r}")
            # A millisecond is what a record is exact to.
            began = time_of(record["started"])
            place = bisect.bisect_left(whens, began - 0.001)
            if place and generation < newest[place - 1]:
                late += 1
                if late <= 5:
                    print(f"{did} began after generation {newest[place - 1]} was answered, and has {generation}")
    print(f"{records} records, {compared} of them of numbers that were changed, in {len(generations)} generations:",
          f"{wrong} are not as their generation had it, {late} are of one before the last that was answered")
    if wrong or late:
        failed.append("records are not as they have to be")
    if not compared:
        failed.append("there is no record of a number that was changed")
    if records < int(calls):
        failed.append(f"{calls} calls were made, and there are {records} records")
    fail(failed)


def time_of(text):
    whole, millis = text.rstrip("Z").split(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + int(millis) / 1000


def scrape(admin, path):
    status, _, text = Node(admin).ask("GET", "/metrics")
    with open(path, "wb") as file:
        file.write(text)
    fail([] if status == 200 else [f"/metrics: {status}"])


def repeated(name, before, after):
    """What the node sent twice, and what came to it twice, whoever sent it."""
    def counts(path):
        lines = (line for line in open(path) if line.startswith("strowger_sip_retransmissions_total{"))
        return {line.split('dir="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}

    earlier, later = counts(before), counts(after)
    if not {"in", "out"} <= later.keys():
        fail([f"{name}: the node does not tell how often anything was sent twice"])
    # What a counter has not counted yet may be left out.
    sent, came = (later[dir] - earlier.get(dir, 0) for dir in ("out", "in"))
    print(f"{name}: the node sent {sent:.0f} messages twice, and {came:.0f} came to it twice")
    fail([f"{name}: something was sent twice"] if sent or came else [])


def calls(name, stat, wanted=None):
    """The last line of SIPp's own statistics."""
    with open(stat) as file:
        rows = [line.rstrip("\n").split(";") for line in file]
    if len(rows) < 2:
        fail([f"{name}: SIPp has written no statistics"])
    last = dict(zip(rows[0], rows[-1]))
    made, failures, twice = (int(last[key]) for key in ("TotalCallCreated", "FailedCall(C)", "Retransmissions(C)"))
    print(f"{name}: {made} calls, {failures} failed, {twice} retransmissions")
    failed = [f"{name}: calls failed"] if failures else []
    failed += [f"{name}: SIPp sent something twice"] if twice else []
    failed += [f"{name}: {made} calls instead of {wanted}"] if made != int(wanted or max(1, made)) else []
    fail(failed)


def buckets(path):
    found = []
    for line in open(path):
        if line.startswith("strowger_setup_seconds_bucket"):
            bound = line.split('le="')[1].split('"')[0]
            found.append((float(bound.replace("+Inf", "inf")), float(line.rsplit(" ", 1)[1])))
    return found


def quantile(before, after, share):
    """As Prometheus does: a straight line through the bucket that holds it."""
    earlier = dict(buckets(before))
    counts = [(bound, count - earlier.get(bound, 0)) for bound, count in buckets(after)]
    if not counts or counts[-1][1] == 0:
        raise SystemExit("nothing was set up between these scrapes")
    wanted, low, below = counts[-1][1] * share, 0.0, 0.0
    for bound, count in counts:
        if count >= wanted and bound < float("inf"):
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound if bound < float("inf") else low, count
    return low


def setup(name, before, after, *rtt):
    p50, p99 = (quantile(before, after, share) * 1e3 for share in (0.5, 0.99))
    text = f"{name}: setup median {p50:.2f} ms, p99 {p99:.2f} ms (strowger_setup_seconds)"
    times = [float(line.split(";")[1]) for path in rtt for line in open(path) if line[:1].isdigit()]
    print(text + (f"; INVITE to 180 as SIPp saw it: {middle([time / 1e3 for time in times])}" if times else ""))


def ratio(*scrapes):
    rounds = list(zip(scrapes[::3], scrapes[1::3], scrapes[2::3]))
    first, second = (sorted(quantile(*two, 0.99) for two in [pick(round) for round in rounds])
                     for pick in (lambda round: round[:2], lambda round: round[1:]))
    at_rest, meanwhile = first[len(first) // 2], second[len(second) // 2]
    print(f"setup p99, medians of {len(rounds)} rounds: at rest {at_rest * 1e3:.2f} ms, meanwhile {meanwhile * 1e3:.2f} ms,",
          f"{meanwhile / at_rest:.2f} times")


if __name__ == "__main__":
    verbs = {verb.__name__: verb for verb in (write, change, compare, scrape, repeated, calls, setup, ratio)}
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    verbs[sys.argv[1]](*sys.argv[2:])
