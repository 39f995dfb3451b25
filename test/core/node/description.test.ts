// What somebody who joins is told: the store's own records behind the cluster's id, and nothing that is not whole.

import test from 'ava';
import { decodeDescription, encodeDescription, type Description } from '../../../core/node/description.js';
import { encodeMemberRecords } from '../../../core/store/members.js';

const DESCRIPTION: Description = {
  clusterId: 2n ** 64n - 5n,
  members: [
    { id: 1n, name: 'one', peerUrls: ['https://a:2380', 'https://b:2380'], clientUrls: [], isLearner: false, incarnation: 7n },
    { id: 2n ** 64n - 1n, name: '', peerUrls: ['https://c:2380'], clientUrls: ['x', 'y'], isLearner: true, incarnation: 0n },
  ],
};

test('a description comes back as it was, and holds the records as the store writes them', (t) => {
  const bytes = encodeDescription(DESCRIPTION);
  t.deepEqual(decodeDescription(bytes), DESCRIPTION);
  t.deepEqual(Buffer.from(bytes.subarray(8)), Buffer.from(encodeMemberRecords(DESCRIPTION.members)));
  // A view into a larger buffer, as it comes from a connection.
  t.deepEqual(decodeDescription(Buffer.concat([Buffer.alloc(3), bytes]).subarray(3)), DESCRIPTION);
});

test('a description that is cut, longer or of another form is refused, and nothing is made of it', (t) => {
  const bytes = encodeDescription(DESCRIPTION);
  for (let length = 0; length < bytes.length; length++) {
    const cut = bytes.subarray(0, length);
    t.throws(() => decodeDescription(cut), { name: 'Error', message: /description of a cluster/ }, `${length} bytes`);
  }
  t.throws(() => decodeDescription(Buffer.concat([bytes, Buffer.alloc(1)])), { name: 'Error', message: /1 bytes too many/ });
  const later = Buffer.from(bytes);
  later[8] = 99;
  t.throws(() => decodeDescription(later), { name: 'Error', message: /form 99/ });
});
