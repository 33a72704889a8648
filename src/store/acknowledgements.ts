/**
 * Which change each gateway has acted upon. A gateway says so for itself; whoever revokes a key can then tell from when on it
 * was refused everywhere, and which gateway did not say so.
 */
export interface GatewayRef {
  /** A UUID, new at each start. */
  readonly id: string;
  /** For people: host and process id. */
  readonly name: string;
  /** For how long it may let keys in that it knows while it hears nothing from the store, in milliseconds. */
  readonly aloneMs: number;
}

export interface GatewayState extends GatewayRef {
  /** Number of the last change that it has acted upon. */
  readonly sequence: number;
}

export interface Acknowledgements {
  /** Number of the last change that was announced to the listeners here. */
  readonly sequence: number;
  acknowledge(gateway: GatewayRef, sequence: number): Promise<void>;
  /** Says that a gateway has ended. */
  leave(gateway: GatewayRef): Promise<void>;
  /** Those that have not said that they end, and may still let somebody in: see {@link GatewayRef.aloneMs}. */
  gateways(): Promise<readonly GatewayState[]>;
  /** How often it is worth looking at {@link Acknowledgements.gateways}, in milliseconds. */
  readonly lookMs: number;
  /** Which gateways can't report, for people; undefined where every gateway can. */
  readonly unseen?: string;
}

/** Number of the change that a gateway has acted upon which says of none that is known. */
export const NO_KNOWN_CHANGE = -1;

/** How often a gateway says at least that it is there. */
export const GATEWAY_BEAT_MS = 10_000;
export const GATEWAY_LIVE_MS = 3 * GATEWAY_BEAT_MS;

/** Whether a gateway may still let somebody in. Both times are of one clock, the store's: clocks of machines differ. */
export function isLive(saidAt: number, aloneMs: number, now: number): boolean {
  return saidAt + aloneMs + GATEWAY_LIVE_MS > now;
}

/** Whether what a gateway has said is of no use any more. */
export function isStale(saidAt: number, aloneMs: number, now: number): boolean {
  return saidAt + aloneMs + 10 * GATEWAY_LIVE_MS < now;
}
