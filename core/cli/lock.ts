// `coterie lock NAME [-- command …]`. Alone it prints the key and holds until it is asked to end, as etcdctl's does; with a
// command it holds while that runs, and ends it when the lock is lost.

import { text } from '../base/bytes.js';
import { lock, tryLock, type LockOptions } from '../../recipes/lock.js';
import { lockState } from '../../recipes/lock-state.js';
import { runGroup, type ClientCommand, type CommandFlag } from './client-command.js';
import { hold, HOLD_FLAGS, ourselves } from './hold.js';
import { personOf } from './lines.js';

const TRY: CommandFlag = { name: 'try', help: 'do not wait: exit at once when it is somebody else\'s' };
const INFO: CommandFlag = { name: 'info', value: 'TEXT', help: 'shown to whoever looks at the lock' };
const CONFLICT: CommandFlag = {
  name: 'conflict-exit-code', value: 'CODE', help: 'when it is not to be had, by --try or --timeout; default 1',
};

const LOCK: ClientCommand = {
  words: 'lock', usage: 'NAME [-- COMMAND …]', summary: 'hold a lock, or run a command while it is held',
  takes: [1, Infinity], flags: [...HOLD_FLAGS, TRY, INFO, CONFLICT], formats: ['simple', 'json'],
  run(invocation) {
    const [name = '', ...command] = invocation.args;
    const root = invocation.text('root');
    const place = root === null ? {} : { root };
    const info = invocation.text('info');
    const options: LockOptions = { ...place, info: { ...ourselves(command), ...(info === null ? {} : { info }) } };
    const refusedCode = invocation.whole('conflict-exit-code', 1, { min: 1, max: 255 });
    return hold(invocation, {
      what: `lock ${name}`,
      command,
      refusedCode,
      acquire: (session, wait) => (invocation.isSet('try') ? tryLock : lock)(session, name, { ...options, ...wait }),
      announce: ({ key }) => `${text(key)}\n`,
      environment: ({ key, fence }) => {
        const [entry, revision] = [text(key), String(fence)];
        // etcdctl's names as well: a script that asks for them need not know who took the lock.
        const etcdctls = { ETCD_LOCK_KEY: entry, ETCD_LOCK_REV: revision };
        return { COTERIE_LOCK_KEY: entry, COTERIE_FENCE: revision, ...etcdctls };
      },
      holder: async () => {
        const { holder } = await lockState(invocation.connect(), name, place);
        return holder === null ? null : personOf(holder.info, holder.lease);
      },
    });
  },
};

export const COMMANDS: readonly ClientCommand[] = [LOCK];

export function main(argv: readonly string[]): Promise<number> {
  return runGroup('lock', COMMANDS, argv);
}
