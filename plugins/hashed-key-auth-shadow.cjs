// For kong-js-pluginserver (`-d` names this folder). Our own server does not use this file.
'use strict';

module.exports = require('../dist/src/runtime/stock-plugin.js').stockPlugins['hashed-key-auth-shadow'];
