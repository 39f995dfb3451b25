// The public door of the recipes. Nothing else in this folder is public.

export { BarrierBroken, BarrierRefused } from './barrier-names.js';
export type { BreakReason } from './barrier-names.js';
export { arriveAt, barrierState, resetBarrier } from './barrier.js';
export type { BarrierOptions, BarrierState, Passage, ResetOptions } from './barrier.js';
export { ConfigFollower } from './config-follower.js';
export type { ConfigChange, ConfigEvent, ConfigFollowOptions } from './config-follower.js';
export { ConfigAbsent, ConfigConflict, ConfigInvalid } from './config-names.js';
export type { Audience, ChangeKind, ChangeRecord, ConfigPointer, ParseConfig, Rollout } from './config-names.js';
export { SnapshotRefused } from './config-snapshot.js';
export type { RefusalReason, SnapshotOptions } from './config-snapshot.js';
export { ConfigSpace } from './config.js';
export type { ChangeOptions, ConfigOptions, ConfigRecord, PublishConfigOptions } from './config.js';
export { counter, ids } from './counter.js';
export type { AddOptions, Counter, IdBlock, Ids } from './counter.js';
export { doubleBarrierState, enterBarrier, resetDoubleBarrier, withBarrier } from './double-barrier.js';
export type { Inside } from './double-barrier.js';
export { candidates, leader, observe, requestResign } from './election-state.js';
export type { Candidate, ElectionPlace, Leader, ObserveOptions } from './election-state.js';
export { campaign, HandOverFailed } from './election.js';
export type { CampaignOptions, ElectionEvent, EndHook, Leadership, ResignOptions } from './election.js';
export { FenceGuard, MemoryFences, StaleFence } from './fence-guard.js';
export type { FenceGuardOptions, FenceStore } from './fence-guard.js';
export { fenced } from './fence-middleware.js';
export type { FencedRequest, FencedResponse, FenceMiddlewareOptions } from './fence-middleware.js';
export { FencedOut, FencedTxn } from './fenced-txn.js';
export type { FencedResult, Ownership } from './fenced-txn.js';
export { GroupView, join, members } from './group.js';
export type { GroupChange, JoinOptions, Member, Membership } from './group.js';
export { EntryLost, EntryMayRemain, Released } from './held.js';
export type { Held } from './held.js';
export { ReleaseWanted } from './holding.js';
export { Latch, latch, LatchMismatch, LatchOpen, LatchRemoved, removeLatch } from './latch.js';
export type { CountDownOptions, LatchOptions } from './latch.js';
export { lead } from './lead.js';
export type { LeadEvent, LeadOptions } from './lead.js';
export type { LineEvent } from './line.js';
export type { LockInfo } from './lock-names.js';
export { lockState, requestRelease } from './lock-state.js';
export type { LockEntry, LockState, LockStateOptions } from './lock-state.js';
export { lock, lockAll, tryLock, withLock } from './lock.js';
export type { HeldLock, HeldLocks, LockOptions } from './lock.js';
export type { QueueEvent } from './queue-call.js';
export type { ConsumeOptions } from './queue-consume.js';
export type { AckOptions, Delivery, NackOptions } from './queue-delivery.js';
export type { End } from './queue-keys.js';
export { ItemTooLarge, QueueFull } from './queue-put.js';
export type { PutOptions, PutResult } from './queue-put.js';
export type { DeadItem, QueueStats, Removal } from './queue-state.js';
export { Queue } from './queue.js';
export type { Codec, QueueOptions, TakeOptions } from './queue.js';
export { readLock, rwLockState, tryReadLock, tryWriteLock, writeLock } from './rw-lock.js';
export type { RwLockEntry, RwLockOptions, RwLockState } from './rw-lock.js';
export { acquirePermits, resizeSemaphore, SemaphoreLimitDiffers, semaphoreState, tryPermits } from './semaphore.js';
export type { HeldPermits, PermitsEntry, SemaphoreOptions, SemaphoreState } from './semaphore.js';
export { Session, SessionLost } from './session.js';
export type { LossReason, SessionEvent, SessionOptions } from './session.js';
export { stm, StmConflict } from './stm.js';
export type { Pair, Selected, StmOptions, Transaction } from './stm.js';
export type { TaskEvent, TaskOptions } from './task.js';
export { TopicDelivery } from './topic-delivery.js';
export { TopicGroup } from './topic-group.js';
export type { GroupConsumeOptions, GroupEvent, GroupOptions } from './topic-group.js';
export { Gap } from './topic-names.js';
export type { GapReason, Message } from './topic-names.js';
export type { Published, PublishOptions, Retention } from './topic-publish.js';
export { Subscription } from './topic-read.js';
export type { SubscribeOptions, SubscriptionEvent } from './topic-read.js';
export { LiveTopic, Topic } from './topic.js';
export type { LiveSubscribeOptions, TopicOptions } from './topic.js';
export { View } from './view.js';
export type { Selection, ViewChange, ViewEvent, ViewOptions } from './view.js';
export { discover, evict, readServices, register, Registration, RegistrationEnded, ServiceView } from './registry.js';
export type {
  Departure,
  DepartureReason,
  EndReason,
  Instance,
  InstancePatch,
  InstanceSpec,
  InstanceState,
  InvalidEntry,
  RegisterOptions,
  RegistrationEvent,
  ServiceChange,
  ServicesRead,
  ServiceState,
} from './registry.js';
export type { WaitOptions } from './pause.js';
