"""python3-etcd3gw at its work, over the JSON gateway, as its users write it: says each claim that held, a line each.

Between the two halves it says `ready` and waits for a line: a cluster loses its leader there. The client has no way to
another member of its own, so it is given one that survives; what fails while there is no leader is tried again by the user.
"""

import sys
import time

import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception
from etcd3gw.utils import _encode

HOST, PORT, PREFIX = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = Etcd3Client(host=HOST, port=PORT, timeout=5, api_path='/v3/')


def say(claim):
    print(claim, flush=True)


def until(attempt, within=30):
    end = time.monotonic() + within
    while True:
        try:
            result = attempt()
            if result or time.monotonic() > end:
                return result
        except (Etcd3Exception, requests.RequestException):
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def key(name):
    return PREFIX + name


def keys_and_values():
    assert client.put(key('kv/a'), '1') is True
    client.put(key('kv/b'), '2')
    assert client.get(key('kv/a')) == [b'1']
    assert client.get(key('kv/none')) == []
    found = [(value, meta['key'].decode()) for value, meta in client.get_prefix(key('kv/'), sort_order='descend')]
    assert found == [(b'2', key('kv/b')), (b'1', key('kv/a'))], found
    assert client.create(key('kv/a'), 'x') is False
    assert client.create(key('kv/c'), 'x') is True
    assert client.replace(key('kv/a'), '1', '4') is True
    assert client.replace(key('kv/a'), '1', '5') is False
    assert client.delete(key('kv/b')) is True
    assert client.delete(key('kv/b')) is False
    assert client.delete_prefix(key('kv/')) is True
    assert client.get_prefix(key('kv/')) == []
    assert client.status()['version'].startswith('3.') and len(client.members()) >= 1
    say('puts, gets, reads a prefix and deletes')


def transaction():
    client.put(key('txn'), '1')
    name = _encode(key('txn'))
    compare = [{'key': name, 'target': 'VALUE', 'result': 'EQUAL', 'value': _encode('1')}]
    get = {'request_range': {'key': name}}
    put = {'request_put': {'key': name, 'value': _encode('2')}}
    answer = client.transaction({'compare': compare, 'success': [put, get], 'failure': [get]})
    assert answer['succeeded'] is True
    assert answer['responses'][1]['response_range']['kvs'][0]['value'] == _encode('2'), answer
    answer = client.transaction({'compare': compare, 'success': [put], 'failure': [get]})
    assert 'succeeded' not in answer and len(answer['responses']) == 1, answer
    say('compares and changes in one transaction')


def next_event(events):
    event = next(events)
    return event.get('type', 'PUT'), event['kv']['key'].decode()[len(PREFIX):], event['kv'].get('value')


def watches():
    events, cancel = client.watch_prefix(key('w/'))
    client.put(key('w/a'), '1')
    assert next_event(events) == ('PUT', 'w/a', b'1')
    client.delete(key('w/a'))
    assert next_event(events) == ('DELETE', 'w/a', None)
    cancel()
    assert list(events) == []
    say('watches a prefix until it cancels')


def leases():
    lease = client.lease(60)
    client.put(key('l/a'), '1', lease=lease)
    assert lease.refresh() == 60
    assert 55 <= lease.ttl() <= 60
    assert lease.keys() == [key('l/a').encode()]
    assert lease.revoke() is True
    assert client.get(key('l/a')) == []
    say('grants, renews and revokes a lease')


def locks():
    with client.lock(key('lock'), ttl=30) as lock:
        assert lock.is_acquired()
        assert client.lock(key('lock'), ttl=30).acquire() is False
    assert not lock.is_acquired()
    say('locks, one at a time')


def all_of_it():
    keys_and_values()
    transaction()
    watches()
    leases()
    locks()


all_of_it()
events, cancel = client.watch_prefix(key('across/'))
client.put(key('kept'), 'before')
lease = client.lease(60)
client.put(key('leased'), '1', lease=lease)
client.put(key('short'), '1', lease=client.lease(1))
lock = client.lock(key('held'), ttl=60)
assert lock.acquire()
say('ready')
sys.stdin.readline()
until(lambda: client.put(key('across/a'), 'after'))
assert client.get(key('kept')) == [b'before']
assert next_event(events) == ('PUT', 'across/a', b'after')
cancel()
say('keeps what it wrote, and its watch goes on')
assert lease.refresh() == 60 and client.get(key('leased')) == [b'1']
assert lock.is_acquired() and lock.refresh() == 60 and lock.release()
say('keeps its lease and its lock')
assert until(lambda: client.get(key('short')) == [])
say('loses what is on a lease nobody renews')
all_of_it()
