// The configuration file: what it is completed with, and that every mistake is named with its place and remedy.

import test from 'ava';
import { checkConfig, ConfigError, packagedTemplate, parseConfig } from '../../sidecar/config.js';

const GOOD = `
endpoints: [http://127.0.0.1:2379]
groups:
  - name: edge
    services: [web, { name: api, whenEmpty: renderEmpty }]
    templates:
      - { source: a.hbs, target: /etc/nginx/nginx.conf, mode: "0640" }
    reload:
      nginx: { confirm: http://127.0.0.1:8404/generation }
`;

function problems(text: string): readonly string[] {
  try {
    parseConfig(text, '/etc/coterie/sidecar.yaml');
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n').map((line) => line.replace('/etc/coterie/', ''));
    throw error;
  }
  return [];
}

test('a short file is completed with defaults, and paths are taken from its folder', (t) => {
  const config = parseConfig(GOOD, '/etc/coterie/sidecar.yaml');
  const group = config.groups[0];
  t.like(group, {
    name: 'edge',
    services: [{ name: 'web', whenEmpty: 'holdLast', holdMaxMs: 0, require: 0 }, { name: 'api', whenEmpty: 'renderEmpty' }],
    templates: [
      { name: 'nginx.conf', source: '/etc/coterie/a.hbs', target: '/etc/nginx/nginx.conf', escape: 'nginx', mode: 0o640 },
    ],
    check: null,
    reload: { kind: 'nginx', binary: 'nginx', config: '/etc/nginx/nginx.conf', confirm: 'http://127.0.0.1:8404/generation' },
    quiet: { minMs: 100, maxMs: 1000 },
    retry: { attempts: 10 },
  });
  const templates = [{ source: 'coterie:haproxy.cfg.hbs', target: 'x/haproxy.cfg' }];
  const made = checkConfig({ groups: [{ name: 'g', services: ['a'], templates, reload: 'none' }] }, '/base');
  t.like(made.groups[0]?.templates[0], { source: packagedTemplate('haproxy.cfg.hbs'), target: '/base/x/haproxy.cfg' });
});

test('every bad value is named with its place, the reason and what to write instead, all at once', (t) => {
  const bad = GOOD.replace('name: edge', 'name: "ed ge"').replace('mode: "0640"', 'mode: 0640').replace('renderEmpty', 'render')
    .replace('services:', 'servces: 1\n    services:').replace('confirm: http://', 'confirm: ftp://')
    .concat('    quiet: { minMs: soon }\n');
  t.deepEqual(problems(bad), [
    'sidecar.yaml:4:11: groups[0].name: "ed ge" must be 1 to 63 letters, digits, ".", "_" or "-", a letter or digit at both ends',
    'sidecar.yaml:6:45: groups[0].services[1].whenEmpty: "render" is not one of holdLast, renderEmpty',
    'sidecar.yaml:8:63: groups[0].templates[0].mode: 640 is not a text',
    'sidecar.yaml:10:25: groups[0].reload.nginx.confirm: "ftp://127.0.0.1:8404/generation" '
      + 'must be a URL such as http://127.0.0.1:8404/generation',
    'sidecar.yaml:11:21: groups[0].quiet.minMs: "soon" is not a number',
    'sidecar.yaml:5:5: groups[0].servces: unknown key; did you mean services?',
  ]);
});

test('unknown keys are refused at every depth, with a suggestion or the keys there are', (t) => {
  const rows: readonly (readonly [string, string, RegExp])[] = [
    ['endpoints:', 'endpoint:', /2:1: endpoint: unknown key; did you mean endpoints\?/],
    ['confirm:', 'confrim:', /9:16: groups\[0\]\.reload\.nginx\.confrim: unknown key; did you mean confirm\?/],
    ['target:', 'targt:', /templates\[0\]\.target: is missing/],
    ['nginx: {', 'zzz: {', /groups\[0\]\.reload\.zzz: unknown key; known here: nginx, haproxy, command/],
    ['whenEmpty', 'when_empty', /services\[1\]\.when_empty: unknown key; did you mean whenEmpty\?/],
  ];
  for (const [from, to, expected] of rows) t.regex(problems(GOOD.replace(from, to)).join('\n'), expected);
});

test('what fits the schema but not itself is refused as well', (t) => {
  const twice = GOOD.slice(GOOD.indexOf('  - name'));
  t.regex(problems(GOOD + twice).join('\n'), /10:11: groups\[1\]\.name: another group has this name/);
  t.regex(problems(GOOD + twice).join('\n'), /another template writes this file/);
  t.regex(problems(GOOD.replace('[web,', '[web, web,')).join('\n'), /services\[1\]: this service is listed already/);
  const unknown = GOOD.replace('/etc/nginx/nginx.conf', '/etc/thing');
  t.regex(problems(unknown).join('\n'), /do not tell how to escape values; add escape:/);
  t.regex(problems(`${GOOD}    quiet: { minMs: 500, maxMs: 100 }\n`).join('\n'), /quiet: minMs 500 is more than maxMs 100/);
  const misspelt = `${GOOD}    check: [nginx, "{{stage}}"]\n`;
  t.regex(problems(misspelt).join('\n'), /check\[1\]: \{\{stage\}\} stands for nothing .*staged:nginx\.conf/);
  t.regex(problems(GOOD.replace('nginx: {', 'command: [x]\n      nginx: {')).join('\n'), /reload: needs exactly one of/);
  t.regex(problems(GOOD.replace('a.hbs', '/etc/nginx/nginx.conf')).join('\n'), /target: is the template itself/);
});

test('a file that is not YAML, or empty, is refused with line and column', (t) => {
  t.regex(problems('groups: [').join('\n'), /^sidecar\.yaml:1:\d+: not YAML: /);
  t.regex(problems('a: 1\na: 2\n').join('\n'), /^sidecar\.yaml:2:1: not YAML: Map keys must be unique/);
  t.regex(problems('').join('\n'), /^sidecar\.yaml: the file is empty/);
  t.regex(problems('- 1').join('\n'), /\[1\] is not a map/);
});
