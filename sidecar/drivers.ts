// From the configuration's words to the driver that knows the proxy.

import type { ReloadConfig } from './config.js';
import type { Driver } from './driver.js';
import { commandDriver, idleDriver } from './driver.js';
import { haproxyDriver } from './haproxy.js';
import type { World } from './nginx.js';
import { nginxDriver } from './nginx.js';

export function driverFor(reload: ReloadConfig, world: World): Driver {
  switch (reload.kind) {
    case 'nginx':
      return nginxDriver(reload, world);
    case 'haproxy':
      return haproxyDriver(reload, world);
    case 'command':
      return commandDriver(reload.argv, world.processes);
    case 'none':
      return idleDriver();
  }
}
