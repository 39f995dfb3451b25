"""python3-etcd3 at its work, as its users write it: says each claim that held, a line each.

Between the two halves it says `ready` and waits for a line: a cluster loses its leader there. The client has no way to
another member of its own, so it is given one that survives; what fails while there is no leader is tried again by the user.
"""

import sys
import time

import etcd3

HOST, PORT, PREFIX = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = etcd3.client(host=HOST, port=PORT, timeout=5)


def say(claim):
    print(claim, flush=True)


def until(attempt, within=30):
    end = time.monotonic() + within
    while True:
        try:
            result = attempt()
            if result or time.monotonic() > end:
                return result
        except etcd3.exceptions.Etcd3Exception:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def key(name):
    return PREFIX + name


def keys_and_values():
    client.put(key('kv/a'), '1')
    client.put(key('kv/b'), '2')
    assert client.get(key('kv/a'))[0] == b'1'
    assert client.get(key('kv/none')) == (None, None)
    found = [(value, meta.key.decode()) for value, meta in client.get_prefix(key('kv/'), sort_order='descend')]
    assert found == [(b'2', key('kv/b')), (b'1', key('kv/a'))], found
    assert client.put(key('kv/a'), '3', prev_kv=True).prev_kv.value == b'1'
    assert client.put_if_not_exists(key('kv/a'), 'x') is False
    assert client.replace(key('kv/a'), '3', '4') is True
    assert client.delete(key('kv/b')) is True
    assert client.delete(key('kv/b')) is False
    assert client.delete_prefix(key('kv/')).deleted == 1
    say('puts, gets, reads a prefix and deletes')


def transaction():
    t = client.transactions
    client.put(key('txn'), '1')
    won, answers = client.transaction(
        compare=[t.value(key('txn')) == '1', t.version(key('txn')) > 0, t.create(key('none')) == 0],
        success=[t.put(key('txn'), '2'), t.get(key('txn')), t.delete(key('none'))],
        failure=[t.get(key('txn'))],
    )
    assert won and answers[1][0][0] == b'2', answers
    won, answers = client.transaction(compare=[t.value(key('txn')) == '1'], success=[], failure=[t.get(key('txn'))])
    assert not won and answers[0][0][0] == b'2', answers
    say('compares and changes in one transaction')


def next_event(events):
    event = next(events)
    kind = 'put' if isinstance(event, etcd3.events.PutEvent) else 'delete'
    return kind, event.key.decode()[len(PREFIX):], event.value


def watches():
    events, cancel = client.watch_prefix(key('w/'))
    client.put(key('w/a'), '1')
    client.delete(key('w/a'))
    assert next_event(events) == ('put', 'w/a', b'1')
    assert next_event(events) == ('delete', 'w/a', b'')
    cancel()
    assert list(events) == []
    say('watches a prefix until it cancels')


def leases():
    lease = client.lease(60)
    client.put(key('l/a'), '1', lease=lease)
    assert lease.refresh()[0].TTL == 60
    assert 55 <= lease.remaining_ttl <= 60 and lease.granted_ttl == 60
    assert list(lease.keys) == [key('l/a').encode()]
    lease.revoke()
    assert client.get(key('l/a')) == (None, None)
    assert lease.refresh()[0].TTL == 0
    say('grants, renews and revokes a lease')


def locks():
    with client.lock(key('lock'), ttl=30) as lock:
        assert lock.is_acquired()
        # Waiting for it is broken in this client: Debian's tenacity calls its `wait` with one argument, it expects two.
        assert not client.lock(key('lock'), ttl=30).is_acquired()
        t = client.transactions
        assert client.transaction(compare=[t.create(lock.key) == 0], success=[], failure=[])[0] is False
    assert not lock.is_acquired()
    say('locks, one at a time')


def all_of_it():
    keys_and_values()
    transaction()
    watches()
    leases()
    locks()


all_of_it()
events, _cancel = client.watch_prefix(key('across/'))
client.put(key('kept'), 'before')
lease = client.lease(60)
client.put(key('leased'), '1', lease=lease)
short = client.lease(1)
client.put(key('short'), '1', lease=short)
lock = client.lock(key('held'), ttl=60)
assert lock.acquire()
say('ready')
sys.stdin.readline()
until(lambda: client.put(key('across/a'), 'after') is not None)
assert client.get(key('kept'))[0] == b'before'
assert next_event(events) == ('put', 'across/a', b'after')
say('keeps what it wrote, and its watch goes on')
assert lease.refresh()[0].TTL == 60 and client.get(key('leased'))[0] == b'1'
assert lock.is_acquired() and lock.refresh()[0].TTL == 60 and lock.release()
say('keeps its lease and its lock')
assert until(lambda: client.get(key('short'))[0] is None)
say('loses what is on a lease nobody renews')
all_of_it()
