// The public door of coterie: `import { … } from 'coterie'`. Nothing else of core is public.
//
//   startNode  a whole node in this process          connect  a client to coterie or etcd over the network
//   serve      any client becomes an etcd endpoint   keepAliver  keeps sessions there through a blocked loop

export { startNode, type NodeFacts, type NodeOptions, type PeerTls, type RunningNode } from './start-node.js';
export type { MemberSpec } from './identity.js';
export { keepAliver, type KeepAliverOptions } from './wire/keep-aliver.js';
export { connect, type RemoteOptions } from './wire/remote-client.js';
export type { ClientTls } from './wire/client-tls.js';
export { clientTlsFromFiles, FlagFault, INSECURE_WARNING, passwordFromFile, type ClientTlsFiles } from './client-files.js';
export { TlsFault, type TlsTerms, type TlsVersion } from './base/tls-terms.js';
export { serve, type ServeOptions, type WireServer } from './wire/port.js';
export type { NodeEvent, Observe } from './node/events.js';
export type { NodeLimits } from './node/limits.js';
export { ApiError, ERRORS, isApiError, type ErrorCode } from './errors.js';
export { prefixEnd, text, utf8 } from './base/bytes.js';
export { systemClock, type Clock } from './base/clock.js';
export {
  created,
  del,
  get,
  inRange,
  leaseIs,
  modified,
  opDelete,
  opPut,
  opRange,
  opTxn,
  prefixRange,
  put,
  valueIs,
  versionIs,
  type Admin,
  type Alarm,
  type AlarmKind,
  type AlarmRequest,
  type AlarmsResponse,
  type Auth,
  type AuthChange,
  type AuthStatus,
  type Backend,
  type Caller,
  type CallOptions,
  type Client,
  type Compare,
  type CompareResult,
  type Credentials,
  type DeleteRequest,
  type DeleteResponse,
  type Event,
  type GrantOptions,
  type HashResponse,
  type Header,
  type KeepAlive,
  type KeepAliver,
  type Keeping,
  type KeepOrder,
  type KeyValue,
  type Lease,
  type LeaseId,
  type LeaseInfo,
  type Member,
  type MemberAdded,
  type MembersResponse,
  type Op,
  type OpResponse,
  type Password,
  type Permission,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  type Revision,
  type SnapshotStream,
  type SortOrder,
  type SortTarget,
  type StatusResponse,
  type Sub,
  type TxnRequest,
  type TxnResponse,
  type Watch,
  type WatchBatch,
  type WatchRequest,
} from './client.js';
