// Versions a client may ask for. Clients of etcd parse `etcdVersion` as numbers and switch behaviour on it (contract 17),
// so it names the etcd release whose API we serve, not our own release.

export const coterieVersion = '0.1.0';
export const etcdVersion = '3.4.23';
export const etcdClusterVersion = '3.4.0';
