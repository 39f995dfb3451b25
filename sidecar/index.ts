// The public door of the sidecar, for programs that run it inside themselves. The command is `coterie sidecar`.
//
//   startSidecar(client, checkConfig({ groups: [...] }, folder), { observe })
//   createProxy  the built-in reverse proxy, for where there is neither nginx nor HAProxy

export { applyOnce, planOnce, Sidecar, startSidecar, TargetInUse } from './sidecar.js';
export type { SidecarOptions } from './sidecar.js';
export { checkConfig, ConfigError, packagedTemplate, parseConfig } from './config.js';
export type { GroupConfig, Problem, ReloadConfig, ServiceConfig, SidecarConfig, TemplateConfig, WhenEmpty } from './config.js';
export { line } from './events.js';
export type { GroupCounts, GroupStatus, SidecarEvent, SidecarStatus } from './events.js';
export type { Outcome, Plan, Step } from './publish.js';
export type { Driver, Proof, Verdict } from './driver.js';
export { createProxy, PROXY_LIMITS } from './proxy.js';
export type { InstanceStats, Proxy, ProxyEvent, ProxyLimits, ProxyOptions, ProxyStats } from './proxy.js';
export { feedProxy } from './proxy-feed.js';
export type { FeedEvent, FeedOptions } from './proxy-feed.js';
export { compileTemplate, renderGroup, TemplateError } from './render.js';
export type { Instance } from './view-data.js';
