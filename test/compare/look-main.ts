// A process of its own: prints how many keys there are under a prefix.

import { utf8 } from '../../core/base/bytes.js';
import { prefixRange } from '../../core/client.js';
import { connect } from '../../core/index.js';

const [url = '', prefix = ''] = process.argv.slice(2);
const client = connect(url);
const { count } = await client.range({ ...prefixRange(utf8(prefix)), countOnly: true });
process.stdout.write(String(count));
await client.close();
