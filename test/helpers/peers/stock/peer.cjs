// A plugin for the stock kong-js-pluginserver, to prove the stand-in Kong by a server that nobody here wrote.
'use strict';

class PeerPlugin {
  constructor(config) {
    this.config = config;
  }

  async access(kong) {
    const { message, consumer, deny } = this.config;
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
}

module.exports = {
  Plugin: PeerPlugin,
  Name: 'peer-js',
  Schema: [
    { message: { type: 'string', default: 'hello', description: 'What the upstream is told.' } },
    { consumer: { type: 'string', description: 'Consumer to authenticate as.' } },
    { deny: { type: 'boolean', default: false, description: 'Whether everybody is refused.' } },
  ],
  Version: '1.0.0',
  Priority: 1000,
};
