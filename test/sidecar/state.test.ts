// What is remembered over a restart, when it is more than may be remembered.

import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import test from 'ava';

import { systemFiles } from '../../core/base/files.js';
import { readState, STATE_BYTES_MAX, writeState } from '../../sidecar/state.js';
import { folder, instance, plainConfig } from './rig.js';

const CONFIRMED = { generation: 'abcdef', told: true };

test('registrations that are too much to remember cost the memory of them, not the sidecar', async (t) => {
  const directory = folder(t);
  const [group] = plainConfig(directory, 'x').groups;
  if (group === undefined) return t.fail('one group was written');
  const few = [['web', [instance('a')]]] as const;
  await writeState(group, systemFiles, { confirmed: CONFIRMED, services: few });
  t.deepEqual(await readState(group, systemFiles), { confirmed: CONFIRMED, services: few });
  const meta = { big: 'x'.repeat(1_000) };
  const many = Array.from({ length: STATE_BYTES_MAX / 1_000 }, (_, i) => instance(`a${i}`, { meta }));
  await writeState(group, systemFiles, { confirmed: CONFIRMED, services: [['web', many]] });
  t.true(statSync(join(directory, '.coterie-live.conf.state')).size < 1_000);
  t.deepEqual(await readState(group, systemFiles), { confirmed: CONFIRMED, services: [] });
});

test('a state file that is larger than any of ours is like none, and is replaced', async (t) => {
  const directory = folder(t);
  const [group] = plainConfig(directory, 'x').groups;
  if (group === undefined) return t.fail('one group was written');
  const path = join(directory, '.coterie-live.conf.state');
  writeFileSync(path, Buffer.alloc(65_000_000, 'x'));
  t.deepEqual(await readState(group, systemFiles), { confirmed: null, services: [] });
  await writeState(group, systemFiles, { confirmed: CONFIRMED, services: [] });
  t.true(statSync(path).size < 1_000);
});
