import type { Gateway, GatewayOptions } from './gateway.ts';
export function startStandInKong(_o: GatewayOptions): Promise<Gateway> { return Promise.reject(new Error('not yet')); }
