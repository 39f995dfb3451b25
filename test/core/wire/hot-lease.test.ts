// The messages of leases, held against the generated code: on generated input, on bytes of chance, and at the ends of numbers.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import * as convert from '../../../core/wire/convert.js';
import { LeaseCodec } from '../../../core/wire/hot-lease.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { decode } from '../../../core/wire/unary.js';

const prng = new Prng(7);

/** All lengths a number can have in bytes, both signs. */
function numbers(): bigint[] {
  const edges = [0n, 1n, 127n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 63n - 1n, -1n, -(2n ** 63n)];
  const random = Array.from({ length: 400 }, () => BigInt.asIntN(64, (prng.id63() * 2n + 1n) >> BigInt(prng.below(64))));
  const powers = Array.from({ length: 63 }, (_, bits) => 2n ** BigInt(bits));
  return [...edges, ...powers.flatMap((power) => [power, power - 1n, -power]), ...random];
}

test('requests are read as the generated code reads them, or left to it', (t) => {
  const codec = new LeaseCodec();
  for (const ID of numbers()) {
    t.is(codec.readId(rpc.LeaseKeepAliveRequest.encode({ ID }).finish()), ID);
    t.is(codec.readId(rpc.LeaseRevokeRequest.encode({ ID }).finish()), ID);
    const TTL = numbers()[prng.below(400)] ?? 0n;
    const read = codec.readGrant(rpc.LeaseGrantRequest.encode({ TTL, ID }).finish());
    if (TTL >= 0n && TTL < 2n ** 32n) t.deepEqual(read, { ttlSeconds: Number(TTL), id: ID });
    else t.is(read, null);
  }
});

test('of bytes of chance nothing is read that the generated code does not read', (t) => {
  const codec = new LeaseCodec();
  let [ids, grants] = [0, 0];
  for (let n = 0; n < 60_000; n++) {
    const length = prng.below(14);
    const bytes = Uint8Array.from({ length }, () => (prng.below(3) === 0 ? prng.below(256) : 128 | prng.below(128)));
    if (bytes.length > 0 && prng.below(4) > 0) bytes[0] = 8 * (1 + prng.below(2));
    const id = codec.readId(bytes);
    if (id !== null) {
      ids += 1;
      t.is(id, decode(rpc.LeaseKeepAliveRequest, bytes, 'a request').ID);
    }
    const grant = codec.readGrant(bytes);
    if (grant !== null) {
      grants += 1;
      t.deepEqual(grant, convert.readGrantRequest(decode(rpc.LeaseGrantRequest, bytes, 'a request')));
    }
  }
  t.true(ids > 500 && grants > 500, `${ids} and ${grants} were read`);
});

test('answers are written byte for byte as the generated code writes them', (t) => {
  const codec = new LeaseCodec();
  let header = { clusterId: 2n ** 63n + 1n, memberId: 5n, revision: 1, raftTerm: 1 };
  for (const id of numbers()) {
    // Now and then the same header, as it is with answers that are given together.
    if (prng.below(3) > 0) {
      const revision = prng.below(2 ** 32) * 2 ** prng.below(21);
      header = { clusterId: prng.id63(), memberId: prng.id63(), revision, raftTerm: prng.below(9) };
    }
    const ttlSeconds = [0, 1, 60, 300, 2 ** 31, 9_000_000_000, prng.u32()][prng.below(7)] ?? 0;
    const kept = rpc.LeaseKeepAliveResponse.encode(convert.writeKeepAlive(id, { header, ttlSeconds })).finish();
    t.deepEqual(Buffer.from(codec.keepAlive(header, id, ttlSeconds)), Buffer.from(kept));
    const granted = rpc.LeaseGrantResponse.encode(convert.writeLease({ header, id, ttlSeconds })).finish();
    t.deepEqual(Buffer.from(codec.grant({ header, id, ttlSeconds })), Buffer.from(granted));
    t.deepEqual(Buffer.from(codec.revoke(header)), Buffer.from(rpc.LeaseRevokeResponse.encode({ header }).finish()));
  }
  for (const ids of [[], numbers()]) {
    const listed = rpc.LeaseLeasesResponse.encode({ header, leases: ids.map((ID) => ({ ID })) }).finish();
    t.deepEqual(Buffer.from(codec.leases(header, ids)), Buffer.from(listed));
  }
});
