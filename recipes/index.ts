// The public door of the recipes. Nothing else in this folder is public.

export { Session, SessionLost } from './session.js';
export type { LossReason, SessionEvent, SessionOptions } from './session.js';
export type {
  Departure,
  DepartureReason,
  Instance,
  InstanceSpec,
  InstanceState,
  InvalidEntry,
} from './instance.js';
