// A plugin for the stock kong-js-pluginserver, to prove the stand-in Kong by a server that nobody here wrote.
'use strict';

const BENCH_CONSUMER = { id: '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01', username: 'alice' };

class PeerPlugin {
  constructor(config) {
    this.config = config;
  }

  async access(kong) {
    const { message, consumer, deny, bench } = this.config;
    if (bench > 0) {
      await this.benchmark(kong, bench);
      return;
    }
    const asked = await kong.request.getHeader('x-ask');
    if (deny) {
      await kong.response.exit(401, JSON.stringify({ denied: message }), {
        'Content-Type': 'application/json',
      });
      return;
    }
    const headers = await kong.request.getHeaders(100);
    if (consumer) {
      const found = await kong.client.load_consumer(consumer, true);
      if (!found) {
        await kong.response.exit(403, 'no such consumer', {});
        return;
      }
      await kong.client.authenticate(found, { id: 'peer-credential', consumer_id: found.id });
      await kong.service.request.setHeader('X-Peer-Consumer', found.id);
    }
    await kong.service.request.setHeader(
      'X-Peer',
      `${message}:${asked || ''}:${Object.keys(headers).includes('x-ask')}`,
    );
  }

  // One PDK call, or the three of an authentication: for bench/.
  async benchmark(kong, calls) {
    await kong.request.getHeader('apikey');
    if (calls < 3) return;
    await kong.client.authenticate(BENCH_CONSUMER, { id: BENCH_CONSUMER.id, consumer_id: BENCH_CONSUMER.id });
    await kong.service.request.set_headers({
      'X-Consumer-ID': BENCH_CONSUMER.id,
      'X-Consumer-Username': BENCH_CONSUMER.username,
      'X-Credential-Identifier': BENCH_CONSUMER.id,
    });
  }
}

module.exports = {
  Plugin: PeerPlugin,
  Name: 'peer-js',
  Schema: [
    { message: { type: 'string', default: 'hello', description: 'What the upstream is told.' } },
    { consumer: { type: 'string', description: 'Consumer to authenticate as.' } },
    { bench: { type: 'integer', default: 0, description: 'How many calls to make, for benchmarks.' } },
    { deny: { type: 'boolean', default: false, description: 'Whether everybody is refused.' } },
  ],
  Version: '1.0.0',
  Priority: 1000,
};
