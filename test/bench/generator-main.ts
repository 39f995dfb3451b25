// The load generator's process: one argument, a `Job` as JSON; prints a line when the warm-up has ended, one when the measured
// time has, and one with the result.

import type { Job } from './generator.js';
import { LoadLoop } from './load-loop.js';

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const loop = new LoadLoop(JSON.parse(process.argv[2] ?? '') as Job, {
  onBegin: () => say('measuring'),
  onEnd: () => say('measured'),
  onFault(why) {
    process.stderr.write(why);
    process.exit(1);
  },
});
await loop.open();
const result = await loop.run();
loop.close();
say(JSON.stringify(result));
