// The file that says whose data directory this is: format, cluster, member and incarnation, in words a person can read. A
// node refuses a directory that is not its own, because terms and votes cannot be lent (reliability B19).

import { text, utf8 } from '../base/bytes.js';
import { checksum } from '../base/crc.js';
import type { Done } from '../base/done.js';
import type { Files } from '../base/files.js';
import { LogError, REMEDY } from './log-storage.js';
import { FORMAT, type Identity } from './segment.js';
import { TEMPORARY } from './snapshot-file.js';

export const IDENTITY_NAME = 'identity';
const SIZE_MAX = 4096;
/** Data of format 1 has no incarnation; it is understood well enough to say so. */
const WORDS = /^coterie data, format (\d+)\ncluster ([0-9a-f]+)\nmember ([0-9a-f]+)\n(?:incarnation ([0-9a-f]+)\n)?$/;

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

/** Whose directory it is; null: nobody's yet. An error when there is a file that cannot be understood. */
export function readIdentity(files: Files, directory: string, done: Done<Identity | null>): void {
  const path = `${directory}/${IDENTITY_NAME}`;
  files.stat(path, (error, stat) => {
    if (error !== null) return done(error);
    if (stat === null || stat === undefined) return done(null, null);
    files.read(path, 0, SIZE_MAX, (failure, bytes) => {
      if (failure !== null || bytes === undefined) return done(failure);
      const found = understood(path, directory, text(bytes));
      if (found instanceof LogError) done(found);
      else done(null, found);
    });
  });
}

/** An error unless the directory belongs to `identity`. */
export function checkIdentity(files: Files, directory: string, identity: Identity, done: Done): void {
  readIdentity(files, directory, (error, found) => {
    if (error !== null || found === null || found === undefined) return done(error);
    if (wordsFor(found) === wordsFor(identity)) return done(null);
    const [theirs, ours] = [who(found), who(identity)];
    done(new LogError(`${directory} belongs to ${theirs}, but this node is ${ours}. Start it on its own data `
      + 'directory, or with the name and cluster settings this directory was made with'));
  });
}

function understood(path: string, directory: string, content: string): Identity | LogError {
  const body = content.slice(0, content.lastIndexOf('checksum '));
  const match = WORDS.exec(body);
  if (match === null || sealed(body) !== content) {
    return new LogError(`${path} is damaged, so it cannot be told whose data this is. ${REMEDY}`);
  }
  const [, format, cluster, member, incarnation] = match;
  if (Number(format) !== FORMAT || incarnation === undefined) {
    return new LogError(`${directory} has data of format ${format}, and this program reads format ${FORMAT}. `
      + 'Use the version that made it');
  }
  return { clusterId: BigInt(`0x${cluster}`), memberId: BigInt(`0x${member}`), incarnation: BigInt(`0x${incarnation}`) };
}

function who({ clusterId, memberId, incarnation }: Identity): string {
  return `member ${hex(memberId)} of cluster ${hex(clusterId)} (incarnation ${hex(incarnation)})`;
}

function wordsFor(identity: Identity): string {
  const { clusterId, memberId, incarnation } = identity;
  return `coterie data, format ${FORMAT}\ncluster ${hex(clusterId)}\nmember ${hex(memberId)}\nincarnation ${hex(incarnation)}\n`;
}

function sealed(body: string): string {
  return `${body}checksum ${checksum(utf8(body)).toString(16).padStart(8, '0')}\n`;
}

function hex(id: bigint): string {
  return id.toString(16);
}
