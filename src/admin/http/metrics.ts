/**
 * Counts of the admin service, for Prometheus. Labels are patterns of routes, never paths as sent: neither a consumer nor a
 * client can make a series.
 */
import { Counter, Histogram, Registry } from 'prom-client';

export class AdminMetrics {
  readonly registry = new Registry();
  readonly #requests: Counter<'route' | 'method' | 'status'>;
  readonly #durations: Histogram<'route' | 'method'>;

  constructor() {
    const registers = [this.registry];
    this.#requests = new Counter({
      name: 'hashed_key_auth_admin_requests_total',
      help: 'Requests to the admin service.',
      labelNames: ['route', 'method', 'status'],
      registers,
    });
    this.#durations = new Histogram({
      name: 'hashed_key_auth_admin_request_duration_seconds',
      help: 'How long requests to the admin service took.',
      labelNames: ['route', 'method'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    });
  }

  /** `route`: the pattern, or undefined where none matched. */
  count(route: string | undefined, method: string, status: number, seconds: number): void {
    const labels = { route: route ?? 'none', method };
    this.#requests.inc({ ...labels, status: String(status) });
    this.#durations.observe(labels, seconds);
  }
}
