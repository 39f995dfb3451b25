// A process of its own for tests: registers one instance at the given endpoint and stays; prints a line when it is in.
// usage: instance-main <endpoint> <service> <id> <ttlSeconds>

import { connect } from '../../core/index.js';
import { register } from '../../recipes/registry.js';

const [endpoint = '', service = '', id = '', ttl = ''] = process.argv.slice(2);
await register(connect(endpoint), { service, id, address: '127.0.0.1', port: 9 }, { ttlSeconds: Number(ttl) });
process.stdout.write('registered\n');
