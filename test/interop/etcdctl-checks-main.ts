// `npm run etcdctl-checks`: etcdctl's own measurements, a minute each and more, against one member of etcd and one of coterie,
// one after another, each in a process of its own. Prints what etcdctl says; the exit code is 1 when coterie fails a check
// that etcd passes. What the table in `npm test` has of these commands is how they refuse.

import { ProcessCluster, runEtcdctl, type Program } from './cluster-processes.js';

const CHECKS = [
  ['check', 'perf', '--load=s', '--auto-compact', '--auto-defrag'],
  ['check', 'datascale', '--load=s', '--auto-compact', '--auto-defrag'],
];

async function check(program: Program): Promise<number[]> {
  const cluster = new ProcessCluster(program, `checks-${program}`);
  try {
    await cluster.start(['one']);
    const codes: number[] = [];
    for (const words of CHECKS) {
      const { code, stdout, stderr } = await runEtcdctl(cluster.endpoints, words);
      // What comes before is a progress bar.
      const verdict = `${stdout}\n${stderr}`.split(/[\n\r]/).filter((line) => /PASS|FAIL|Slowest|Stddev|Error/.test(line));
      process.stdout.write(`${program}: etcdctl ${words.join(' ')}: exit code ${code ?? 'none'}\n  ${verdict.join('\n  ')}\n`);
      codes.push(code ?? 1);
    }
    return codes;
  } finally {
    await cluster.close();
  }
}

const etcd = await check('etcd');
const coterie = await check('coterie');
process.exitCode = coterie.some((code, i) => code !== 0 && etcd[i] === 0) ? 1 : 0;
