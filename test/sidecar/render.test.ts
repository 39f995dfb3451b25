// Templates: what is printed, what is refused, and that no registered value can write configuration.

import test from 'ava';
import { compileTemplate, renderGroup, sealed, tellsGeneration, TemplateError } from '../../sidecar/render.js';
import type { Escape } from '../../sidecar/escape.js';
import type { GroupData, Instance } from '../../sidecar/view-data.js';

function instance(id: string, more: Partial<Instance> = {}): Instance {
  return { service: 'web', id, address: '10.0.0.1', port: 8080, weight: 1, zone: '', tags: [], meta: {}, state: 'up', ...more };
}

function data(instances: readonly Instance[] = [instance('a')], vars: Record<string, unknown> = {}): GroupData {
  const of = (name: string): readonly Instance[] => instances.filter((one) => one.service === name);
  return { group: 'edge', services: [{ name: 'web', instances: of('web') }, { name: 'api', instances: of('api') }], vars };
}

/** What the template says inside the block of service web. */
function web(text: string): string {
  return `{{#service "web"}}${text}{{/service}}`;
}

function eachIn(text: string): string {
  return web(`{{#each instances}}${text}{{/each}}`);
}

function render(text: string, given: GroupData = data(), escape: Escape = 'nginx'): string {
  const { texts } = renderGroup([compileTemplate({ name: 't.hbs', text, escape })], given);
  return texts[0] ?? '';
}

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof TemplateError) return error.message;
    throw error;
  }
  return 'nothing was thrown';
}

test('values are printed without HTML escaping and by the alphabet of the target', (t) => {
  const vars = { path: '/a+b=c,d@e', n: 5, yes: true };
  t.is(render('{{vars.path}} {{vars.n}} {{vars.yes}}', data([], vars)), '/a+b=c,d@e 5 true');
  t.is(render('{"x": {{vars.q}} }', data([], { q: 'a"b\n' }), 'json'), '{"x": "a\\"b\\n" }');
  t.is(render('X={{vars.q}}', data([], { q: "it's $(rm -rf)" }), 'shell'), "X='it'\\''s $(rm -rf)'");
  t.is(render('{{vars.q}}', data([], { q: 'a&b <c> "d"' }), 'plain'), 'a&b <c> "d"');
});

test('a misspelt field is an error that names it and its line, wherever it stands', (t) => {
  t.is(failure(() => render(`a\n${eachIn('{{addres}}')}`)),
    't.hbs:2: there is no "addres" in instance web/a');
  t.is(failure(() => render('\n\n{{#each nope}}{{/each}}')), 't.hbs:3: there is no "nope" in the view');
  t.is(failure(() => render('{{#if nope}}x{{/if}}')), 't.hbs:1: there is no "nope" in the view');
  t.is(failure(() => render('{{#if (not vars.nope)}}x{{/if}}')), 't.hbs:1: there is no "nope" in vars');
  t.is(failure(() => render('{{vars.a.b}}', data([], { a: 'text' }))),
    't.hbs: a name is asked of a text or number, which has no parts');
  t.is(render('{{default vars.nope "x"}}'), 'x');
  t.is(failure(() => render('{{default vars.nope vars.neither}}')), 't.hbs:1: there is no "neither" in vars');
});

test('a service that is not configured is an error, one without instances takes the else branch', (t) => {
  t.is(render('{{#service "api"}}some{{else}}none{{/service}}'), 'none');
  t.is(render('{{#service "web"}}{{name}}{{else}}none{{/service}}'), 'web');
  t.regex(failure(() => render('{{#service "wbe"}}x{{/service}}')), /there is no service "wbe" .*there are: web, api/);
});

test('instances that drain or rest are not among those that take traffic', (t) => {
  const given = data([instance('a'), instance('b', { state: 'draining' }), instance('c', { state: 'maintenance' })]);
  t.is(render(web('{{#each instances}}{{id}}{{/each}}/{{#each draining}}{{id}}{{/each}}'), given), 'a/bc');
  const none = data([instance('b', { state: 'draining' })]);
  t.is(render('{{#service "web"}}some{{else}}none{{/service}}', none), 'none');
});

test('the traps of Handlebars are named with line and remedy before it can misread them', (t) => {
  t.regex(failure(() => render('upstream x {\n{{#each services}}\n{{/each}}}')),
    /^t\.hbs:3: three closing braces.*blank.*rbrace/);
  t.regex(failure(() => render('{{{vars.x}}}')), /^t\.hbs:1: three opening braces.*raw/);
  t.regex(failure(() => render('a\n{{> part}}')), /^t\.hbs:2: partials/);
  t.regex(failure(() => render('{{#each services}}')), /^t\.hbs:1: a block is opened and never closed/);
  t.regex(failure(() => render('{{vars.x')), /^t\.hbs:1: this \{\{ is never closed/);
  t.regex(failure(() => render('x\n{{/each}}')), /^t\.hbs:2: cannot be read near/);
  t.regex(failure(() => render('{{#services}}{{/each}}')), /^t\.hbs:1: services doesn't match each/);
  t.regex(failure(() => render('{{#instances}}x{{/instances}}')),
    /no block "instances"; to walk a list write \{\{#each instances\}\}/);
  t.regex(failure(() => render('{{uper vars.x}}')), /there is no helper "uper"/);
  t.regex(failure(() => render('{{log "x"}}{{lookup vars "x"}}')), /there is no helper "log"/);
  t.regex(failure(() => render('a\u0001b')), /control character/);
  t.is(render('x {{rbrace}}{{lbrace}} {{!-- }}} "quoted --}}y{{! it\'s }}z'), 'x }{ yz');
});

test('nothing of an object beyond its own data can be reached', (t) => {
  for (const name of ['constructor', '__proto__', 'toString', 'vars.constructor', 'vars.__proto__.x', 'services.constructor']) {
    t.regex(failure(() => render(`{{${name}}}`)), /t\.hbs:1: /, name);
  }
  t.regex(failure(() => render('{{get vars "constructor"}}')), /empty value/);
  t.regex(failure(() => render('{{@root}}')), /prints one text or number, not a map/);
});

const HOSTILE = [
  '80; } location /x { return 200 "owned"; } #', 'a\nserver evil 1.1.1.1:80', '"; evil "', "' evil '", 'x}', '{{vars.secret}}',
  '$http_cookie', '%[env(SECRET)]', 'a\\', '#', ' ', 'a\tb', '`id`', '$(id)', 'a;b', 'a\u2028b', 'a\u0000b', 'a\u0001b',
];

test('S6 a hostile value cannot be printed bare: its instance is left out and reported, the others stay', (t) => {
  const text = eachIn('server {{address}}:{{port}} {{meta.note}};\n');
  for (const escape of ['nginx', 'haproxy'] as const) {
    for (const note of HOSTILE) {
      const given = data([instance('a', { meta: { note: 'fine' } }), instance('b', { meta: { note } })]);
      const { texts, refused } = renderGroup([compileTemplate({ name: 't.hbs', text, escape })], given);
      t.deepEqual(texts, ['server 10.0.0.1:8080 fine;\n'], note);
      t.like(refused, { length: 1, 0: { service: 'web', id: 'b' } });
    }
  }
});

test('ten thousand hostile instances are left out in two renderings, not in ten thousand', (t) => {
  const hostile = Array.from({ length: 10_000 }, (_, i) => instance(`h${i}`, { meta: { note: 'a; b' } }));
  const text = eachIn('server {{address}}:{{port}} {{meta.note}};\n');
  const template = compileTemplate({ name: 't.hbs', text, escape: 'nginx' });
  let renderings = 0;
  const counted = { ...template, render: (...given: Parameters<typeof template.render>) => {
    renderings += 1;
    return template.render(...given);
  } };
  const { texts, refused } = renderGroup([counted], data([instance('good', { meta: { note: 'fine' } }), ...hostile]));
  t.deepEqual(texts, ['server 10.0.0.1:8080 fine;\n']);
  t.is(refused.length, 10_000);
  t.is(renderings, 2);
});

test('an address that nginx would read as the path of a socket is left out, also when it is the only one', (t) => {
  const text = '{{#service "web"}}{{#each instances}}server {{hostport}};{{/each}}{{else}}return 503;{{/service}}';
  for (const address of ['unix', 'UNIX']) {
    const only = data([instance('a', { address })]);
    const { texts, refused } = renderGroup([compileTemplate({ name: 't.hbs', text, escape: 'nginx' })], only);
    t.deepEqual(texts, ['return 503;']);
    t.regex(refused[0]?.reason ?? '', /^address "unix", which nginx reads.*register an IP address/i);
  }
  const haproxy = compileTemplate({ name: 't.hbs', text, escape: 'haproxy' });
  const { refused } = renderGroup([haproxy], data([instance('a', { address: 'unix' })]));
  t.deepEqual(refused, []);
});

test('S6 a hostile value in quotes stays one word or is refused', (t) => {
  t.is(render('x {{quote vars.v}};', data([], { v: '80; } location /x { return 200 "owned"; } #' })),
    'x "80; } location /x { return 200 \\"owned\\"; } #";');
  t.is(render('x {{quote vars.v}}', data([], { v: '{{vars.secret}} \\' })), 'x "{{vars.secret}} \\\\"');
  t.is(render('x {{quote vars.v}}', data([], { v: '"; $x }' }), 'haproxy'), 'x \'"; $x }\'');
  for (const v of ['$http_cookie', 'a\nb', 'a\u0000']) {
    t.regex(failure(() => render('x {{quote vars.v}};', data([], { v }))), /t\.hbs/);
  }
  for (const v of ["it's", '%[env(X)]', 'a\nb']) t.regex(failure(() => render('x {{quote vars.v}}', data([], { v }),
    'haproxy')), /t\.hbs/);
});

test('a quoted word is refused where the target would not read its quotes', (t) => {
  const given = data([], { v: '1; } evil' });
  for (const place of ['a@;', 'x "@";', "x 'a @';", 'x\\ @;', 'x "a\\" @"']) {
    t.regex(failure(() => render(place.replace('@', '{{quote vars.v}}'), given)), /line 1 of the result: \{\{quote/, place);
  }
  const good = '@;@ # it\'s @\n@'.replaceAll('@', '{{quote vars.v}}');
  t.is(render(good, given).split('1; } evil').length, 5);
});

test('an unsafe value that would empty its service is the template\'s fault and stops the rendering', (t) => {
  const text = '{{#services}}{{#each instances}}{{meta.note}}{{/each}}{{/services}}';
  t.regex(failure(() => render(text, data([instance('a', { meta: { note: 'a b' } })]))),
    /instance web\/a: "a b" holds " ".*\{\{quote/);
  t.regex(failure(() => render('{{vars.x}}', data([], { x: '' }))), /empty value would vanish/);
});

test('A13 permuted input gives identical bytes', (t) => {
  const text = eachIn('{{id}} {{join tags "+"}} {{#each meta}}{{@key}}={{this}} {{/each}}\n')
    + '{{#each (groupBy services "name")}}{{@key}}{{/each}}'
    + web('{{#each (groupBy instances "tag")}}{{@key}}:{{count this}} {{/each}}');
  const make = (order: readonly number[]): GroupData =>
    data(order.map((n) => instance(`i${n}`, {
      tags: n % 2 === 0 ? ['x', 'b', 'Z'] : ['Z', 'x', 'b'],
      meta: n % 3 === 0 ? { k: 'v', a: 'w' } : { a: 'w', k: 'v' },
    })));
  const orders = [[1, 2, 3, 10, 20], [20, 10, 3, 2, 1], [3, 1, 20, 2, 10]].map((order) => order);
  const texts = orders.map((order) => render(text, make(order)).replaceAll(/i\d+/g, (id) => id));
  t.is(new Set(texts).size, 1);
  t.regex(texts[0] ?? '', /^i1 Z\+b\+x a=w k=v \ni10 /);
});

test('A12 revisions, times and other volatile fields cannot be seen by a template', (t) => {
  const volatile = { ...instance('a'), revision: 7, since: 5, owner: 'ff', why: 'x' };
  for (const field of ['revision', 'since', 'owner', 'why']) {
    t.regex(failure(() => render(eachIn(`{{${field}}}`), data([volatile]))), /there is no/);
  }
});

test('the generation is a mark until the digest over all files is known', (t) => {
  const text = render('return 200 "{{generation}}";');
  t.true(tellsGeneration(text));
  t.is(sealed(text, 'abc123'), 'return 200 "abc123";');
  t.false(tellsGeneration(render('return 200;')));
});

test('the words select, group and shape', (t) => {
  const given = data([
    instance('a', { zone: 'eu', tags: ['blue'], meta: { color: 'red' } }),
    instance('b', { zone: 'us', address: '::1', weight: 3 }),
  ], { list: [3, 'x'], text: 'Ab-c.d', map: { k: 1 } });
  const inWeb = (text: string): string => render(web(text), given, 'plain');
  t.is(inWeb('{{#each (where instances tag="blue")}}{{id}}{{/each}}'), 'a');
  t.is(inWeb('{{#each (where instances zone="us" weight=3)}}{{id}}{{else}}none{{/each}}'), 'b');
  t.is(inWeb('{{#each (where instances "meta.color" "red")}}{{id}}{{/each}}'), 'a');
  t.is(inWeb('{{#each (groupBy instances "zone")}}{{@key}}={{#each this}}{{id}}{{/each}};{{/each}}'), 'eu=a;us=b;');
  t.is(inWeb('{{#each instances}}{{hostport}} {{bracket address}}{{#unless @last}}, {{/unless}}{{/each}}'),
    '10.0.0.1:8080 10.0.0.1, [::1]:8080 [::1]');
  t.is(inWeb('{{#if (gt (count instances) 1)}}many{{else if instances}}one{{else}}none{{/if}}'), 'many');
  const shapes = '{{join vars.list "-"}} {{upper vars.text}} {{lower vars.text}} {{slug vars.text}} '
    + '{{replace vars.text "-" "+"}}';
  t.is(render(shapes, given),
    '3-x AB-C.D ab-c.d Ab_c_d Ab+c.d');
  t.is(render('{{#if (or (eq vars.text "x") (and vars.map (ne 1 2)))}}y{{/if}}', given), 'y');
  t.is(render('{{get vars.map "k"}}{{get vars.map "z" "-"}}{{add 1 2}}', given), '1-3');
  t.is(render('{{json vars.map}}', given, 'json'), '{\n  "k": 1\n}');
  t.regex(failure(() => render('{{json vars.map}}', given)), /cannot be read safely in a nginx file/);
  t.regex(failure(() => render('{{required (get vars "nope") "set nope"}}', given)), /required: set nope/);
});
