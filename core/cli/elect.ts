// `coterie elect NAME VALUE [-- command …]`: waits until it leads, and leads until it is asked to end; with a command, while
// that runs. `--listen` follows who leads. Alone it prints what etcdctl's prints.

import { text } from '../base/bytes.js';
import { campaign, PRIORITY_MAX } from '../../recipes/election.js';
import { leader, observe, type Leader } from '../../recipes/election-state.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { hold, HOLD_FLAGS } from './hold.js';
import { json, plain, type Json } from './output.js';
import { Refusal } from './refusal.js';
import { Requests } from './requests.js';

const USAGE = 'NAME VALUE [-- COMMAND …] | --listen NAME';

const ELECT: ClientCommand = {
  words: 'elect', usage: USAGE,
  summary: 'lead an election, or run a command while leading; --listen follows who leads', takes: [1, Infinity],
  flags: [
    ...HOLD_FLAGS,
    { name: 'listen', short: 'l', help: 'follow who leads: key and value of each leader' },
    { name: 'priority', value: 'NUMBER', help: 'among those who wait, the highest is next; 0 (default) to 1000' },
  ],
  formats: ['simple', 'json'],
  run(invocation) {
    const [name = '', value, ...command] = invocation.args;
    const root = invocation.text('root');
    const place = root === null ? {} : { root };
    if (invocation.isSet('listen')) {
      if (value !== undefined) throw new Refusal(`${value}: --listen only looks`, 'leave out the value, or --listen');
      return listen(invocation, name, place);
    }
    if (value === undefined) throw new Refusal('a word is missing', `usage: coterie elect ${USAGE}`);
    const priority = invocation.whole('priority', 0, { min: 0, max: PRIORITY_MAX });
    return hold(invocation, {
      what: `leadership of ${name}`,
      command,
      refusedCode: 1,
      acquire: (session, wait) => campaign(session, name, value, { ...place, ...wait, priority }),
      announce: ({ key }) => `${text(key)}\n${value}\n`,
      environment: ({ key, fence }) => ({ COTERIE_ELECTION_KEY: text(key), COTERIE_FENCE: String(fence) }),
      holder: async () => {
        const first = await leader(invocation.connect(), name, place);
        return first === null ? null : plain(first.value === '' ? `lease ${first.lease.toString(16)}` : first.value);
      },
    });
  },
};

export const COMMANDS: readonly ClientCommand[] = [ELECT];

export function main(argv: readonly string[]): Promise<number> {
  return runGroup('elect', COMMANDS, argv);
}

/** Until asked to end. A leader whose store cannot be asked is shown again only in JSON, as stale. */
async function listen(invocation: Invocation, name: string, place: { readonly root?: string }): Promise<number> {
  const requests = new Requests();
  const client = invocation.connect();
  try {
    // Whoever cannot be reached at all is told of now; later the following mends itself.
    await leader(client, name, place);
    let shown = '';
    for await (const now of observe(client, name, { ...place, signal: requests.asked })) {
      const line = invocation.format === 'json' ? `${json(leaderJson(now))}\n` : leaderText(now);
      if (line !== shown && line !== '') invocation.print(line);
      shown = line;
    }
    return requests.exitCode;
  } finally {
    requests.stop();
  }
}

function leaderText(now: Leader | null): string {
  return now === null ? '' : `${now.key}\n${plain(now.value)}\n`;
}

function leaderJson(now: Leader | null): Json {
  if (now === null) return { leader: false };
  const { key, lease, term, revision, priority, value, staleSince } = now;
  return { leader: true, key, lease: lease.toString(16), term, revision, priority, value, stale: staleSince !== null };
}
