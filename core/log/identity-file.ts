// The file that says whose data directory this is: format, cluster and member, in words a person can read. A node refuses
// a directory that is not its own, because terms and votes cannot be lent (reliability B19).

import { text, utf8 } from '../base/bytes.js';
import { checksum } from '../base/crc.js';
import type { Done } from '../base/done.js';
import type { Files } from '../base/files.js';
import { LogError } from './log-storage.js';
import { FORMAT, type Identity } from './segment.js';
import { TEMPORARY } from './snapshot-file.js';

export const IDENTITY_NAME = 'identity';
const SIZE_MAX = 4096;

/** Durable when done. */
export function writeIdentity(files: Files, directory: string, identity: Identity, done: Done): void {
  const path = `${directory}/${IDENTITY_NAME}`;
  files.append(path + TEMPORARY, [utf8(sealed(wordsFor(identity)))], (error) => {
    if (error !== null) return done(error);
    files.sync(path + TEMPORARY, (failure) => {
      if (failure !== null) return done(failure);
      files.rename(path + TEMPORARY, path, done);
    });
  });
}

/** An error unless the directory belongs to `identity`. */
export function checkIdentity(files: Files, directory: string, identity: Identity, done: Done): void {
  const path = `${directory}/${IDENTITY_NAME}`;
  files.read(path, 0, SIZE_MAX, (error, bytes) => {
    if (error !== null || bytes === undefined) return done(error);
    done(judge(path, directory, text(bytes), identity));
  });
}

function judge(path: string, directory: string, content: string, identity: Identity): LogError | null {
  const body = content.slice(0, content.lastIndexOf('checksum '));
  const match = /^coterie data, format (\d+)\ncluster ([0-9a-f]+)\nmember ([0-9a-f]+)\n$/.exec(body);
  if (match === null || sealed(body) !== content) {
    return new LogError(`${path} is damaged, so it cannot be told whose data this is. Restore it from a backup`);
  }
  const [, format, cluster, member] = match;
  if (Number(format) !== FORMAT) {
    return new LogError(`${directory} has data of format ${format}, and this program reads format ${FORMAT}. `
      + 'Use the version that made it');
  }
  if (body === wordsFor(identity)) return null;
  return new LogError(`${directory} belongs to member ${member} of cluster ${cluster}, but this node is member `
    + `${hex(identity.memberId)} of cluster ${hex(identity.clusterId)}. Start it on its own data directory, or with the name `
    + 'and cluster settings this directory was made with');
}

function wordsFor(identity: Identity): string {
  return `coterie data, format ${FORMAT}\ncluster ${hex(identity.clusterId)}\nmember ${hex(identity.memberId)}\n`;
}

function sealed(body: string): string {
  return `${body}checksum ${checksum(utf8(body)).toString(16).padStart(8, '0')}\n`;
}

function hex(id: bigint): string {
  return id.toString(16);
}
