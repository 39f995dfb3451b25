// A program for tests to kill: a sidecar on the folder in its argument, whose registry never stands still.

import { instance, NO_CLIENT, ToldSource } from './rig.js';
import { checkConfig } from '../../sidecar/config.js';
import { Sidecar } from '../../sidecar/sidecar.js';

const directory = process.argv[2] ?? '';
const source = new ToldSource();
const templates = [{ source: 'template.hbs', target: 'live.conf', escape: 'nginx' }];
const group = { name: 'g', services: ['web'], templates, reload: 'none', quiet: { minMs: 0, maxMs: 1 } };
let round = 0;
const change = (): void => {
  round += 1;
  source.set('web', Array.from({ length: 2_000 }, (_, i) => instance(`instance-with-a-long-name-${round}-${i}`)));
};
change();
await Sidecar.start(NO_CLIENT, checkConfig({ groups: [group] }, directory), { source });
setInterval(change, 3);
process.stdout.write('started\n');
