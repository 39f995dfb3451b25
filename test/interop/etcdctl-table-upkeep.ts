// The part of the table of etcdctl command lines that is about alarms, a full server, copies and snapshots; etcdctl-tables.ts.

import type { Group } from './etcdctl-rows.js';

export const UPKEEP: readonly Group[] = [
  {
    title: 'alarm and defrag',
    rows: [
      'alarm list',
      '~ alarm list -w {json,protobuf}',
      // This etcdctl asks for a header, which this answer of etcd does not have.
      '~ !2 alarm list -w fields',
      '!4 alarm list -w table',
      'alarm disarm',
      'alarm disarm -w {json,protobuf}',
      '!2 alarm disarm -w fields',
      '!4 alarm disarm -w table',
      '!128 alarm {list,disarm} extra',
      'defrag',
      'defrag --cluster',
      'defrag -w {json,fields,table,protobuf}',
      '!1 defrag --endpoints=http://127.0.0.1:1 --command-timeout=200ms',
      '!3 check {perf,datascale} --prefix=a --auto-compact --auto-defrag --load=s',
    ],
  },
];

export const MIRROR: readonly Group[] = [
  {
    title: 'make-mirror',
    rows: [
      'put mm/a 1',
      'put mm/b 2',
      '& copier make-mirror $other --prefix=mm/ --dest-prefix=copy/',
      '& rooted make-mirror $other --prefix=mm/ --no-dest-prefix',
      '& plain make-mirror $other --dest-insecure-transport=true --prefix=mm/',
      '--endpoints=$other watch copy/b --rev=1 ... 2',
      '--endpoints=$other watch b --rev=1 ... 2',
      '--endpoints=$other watch mm/b --rev=1 ... 2',
      'put mm/c later',
      'txn <<< \nput mm/d both\ndel mm/a\n\n\n',
      '--endpoints=$other watch copy/d --rev=1 ... both',
      '--endpoints=$other watch d --rev=1 ... both',
      '--endpoints=$other watch mm/d --rev=1 ... both',
      '--endpoints=$other watch copy/a --rev=1 ... DELETE',
      '--endpoints=$other get "" --prefix',
      'end copier',
      'end rooted',
      'end plain',
      '!128 make-mirror $other --dest-cacert=/nonexistent',
      '!128 make-mirror $other --dest-cert=/nonexistent --dest-key=/nonexistent',
      '!128 make-mirror',
      '!128 make-mirror a b',
    ],
  },
];

/** Of a server that is full from the first byte on. */
export const FULL: readonly Group[] = [
  {
    title: 'a full server',
    rows: [
      '!1 put a 1',
      'alarm list',
      '~ alarm list -w {json,protobuf}',
      '!1 txn <<< \nput a 1\n\n\n',
      '!1 lease grant 100',
      'get a',
      'del a',
      'txn <<< \nget a\ndel a\n\n\n',
      'compaction 1',
      'defrag',
      'endpoint status -w {json,fields}',
      'endpoint health',
      'endpoint health -w json',
      'alarm disarm',
      'alarm list',
      '!1 put a 1',
      'alarm disarm -w json',
    ],
  },
];

export const SNAPSHOTS: readonly Group[] = [
  {
    title: 'snapshot',
    rows: [
      'put s/1 kept',
      'snapshot save $dir/copy',
      'snapshot save $dir/copy2 -w {json,fields,table,protobuf}',
      'snapshot status $dir/copy',
      'snapshot status $dir/copy -w {json,fields,table}',
      '!4 snapshot status $dir/copy -w protobuf',
      'snapshot restore $dir/copy --data-dir=$dir/restored',
      '!1 snapshot restore $dir/copy --data-dir=$dir/restored',
      'snapshot restore $dir/copy --data-dir=$dir/r2 --wal-dir=$dir/w2 --skip-hash-check --name=n1 ' +
        '--initial-cluster=n1=http://127.0.0.1:1 --initial-cluster-token=t --initial-advertise-peer-urls=http://127.0.0.1:1',
      'snapshot restore $dir/copy --data-dir=$dir/r3 -w json',
      'snapshot restore $dir/copy --data-dir=$dir/r4 -w fields',
      'snapshot restore $dir/copy --data-dir=$dir/r5 -w table',
      'snapshot restore $dir/copy --data-dir=$dir/r6 -w protobuf',
      '!1 snapshot restore $dir/copy --data-dir=$dir/r7 --name=other',
      'migrate --data-dir=$dir/r3',
      'defrag --data-dir=$dir/r4',
      '!5 snapshot save /nonexistent/copy',
      '!1 snapshot restore /nonexistent',
      '!1 snapshot restore /etc/hostname --data-dir=$dir/r8',
      '!128 snapshot {save,status,restore}',
    ],
  },
];
