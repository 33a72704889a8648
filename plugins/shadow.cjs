// For kong-js-pluginserver (`-d` names this folder). Our own server does not use this file.
// Its name comes after hashed-key-auth's: that one must be the first of what the server says about itself.
'use strict';

module.exports = require('../dist/src/runtime/stock-plugin.js').stockPlugins['hashed-key-auth-shadow'];
