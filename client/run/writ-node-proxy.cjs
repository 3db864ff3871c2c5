// writ-node-proxy: makes Node versions that do not know NODE_USE_ENV_PROXY
// send http, https and fetch through the proxy named in the environment.
// Loaded by `writ run` through NODE_OPTIONS=--require. It changes nothing on
// versions that can do it themselves, and nothing for hosts in NO_PROXY, for
// unix sockets, or for agents that bring a way to connect of their own.
'use strict';
const [major, minor] = process.versions.node.split('.').map(Number);
const native = major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21);
const setting = process.env.https_proxy || process.env.http_proxy;
if (!native && setting && !globalThis[Symbol.for('writ.nodeProxy')]) {
  globalThis[Symbol.for('writ.nodeProxy')] = true;
  const http = require('http'), https = require('https'), net = require('net'), tls = require('tls');
  const proxy = new URL(setting);
  const proxyPort = Number(proxy.port) || 80;

  // NO_PROXY: names (with all below them), addresses, networks, each with an
  // optional port; "*" is everything.
  const networks = new net.BlockList();
  const names = [];
  for (const raw of (process.env.no_proxy || '').toLowerCase().split(/[\s,]+/).filter(Boolean)) {
    const [address, prefix] = raw.split('/');
    if (prefix && net.isIP(address)) {
      try { networks.addSubnet(address, Number(prefix), 'ipv' + net.isIP(address)); } catch { /* not a network */ }
      continue;
    }
    const m = net.isIPv6(raw) ? [raw, raw] : /^\[?(.*?)\]?(?::(\d+))?$/.exec(raw);
    names.push({ name: m[1].replace(/^\*?\./, ''), port: m[2] ? Number(m[2]) : 0 });
  }
  const direct = (host, port) => {
    host = String(host || 'localhost').toLowerCase().replace(/^\[|\]$/g, '').replace(/\.$/, '');
    const ip = net.isIP(host);
    return (ip && networks.check(host, 'ipv' + ip)) || names.some((n) =>
      (!n.port || n.port === port) && (n.name === '*' || host === n.name || (!ip && host.endsWith('.' + n.name))));
  };
  const bracket = (host) => (net.isIPv6(host) ? `[${host}]` : host);

  // tunnel asks the proxy for a connection to host:port. A refusal keeps the
  // reason that the proxy gave: the program, or the model that drives it,
  // should read it.
  const tunnel = (host, port, done) => {
    const target = `${bracket(host)}:${port}`;
    const req = http.request({
      host: proxy.hostname, port: proxyPort, method: 'CONNECT', path: target,
      headers: { Host: target }, agent: false,
    });
    req.once('error', done);
    req.once('connect', (res, socket, head) => {
      if (res.statusCode === 200) {
        if (head.length) socket.unshift(head);
        return done(null, socket);
      }
      let body = head.toString();
      let finished = false;
      const finish = () => {
        if (finished) return;
        finished = true;
        socket.destroy();
        let why = '';
        try { why = ': ' + (JSON.parse(body).detail || JSON.parse(body).title); } catch { /* not a problem document */ }
        done(new Error(`the proxy refused ${target} with ${res.statusCode}${why}`));
      };
      const complete = () => body.length >= (Number(res.headers['content-length']) || 65536);
      if (complete()) return finish();
      socket.on('data', (d) => { body += d; if (complete()) finish(); });
      socket.once('end', finish).once('error', finish).once('close', finish).setTimeout(2000, finish);
    });
    req.end();
  };

  // https: every https.Agent opens its connections here.
  const openDirect = https.Agent.prototype.createConnection;
  https.Agent.prototype.createConnection = function (options, done, ...rest) {
    const o = options && typeof options === 'object' ? options : null;
    if (!o || typeof done !== 'function' || o.socketPath || o.socket || direct(o.host, Number(o.port) || 443)) {
      return openDirect.call(this, options, done, ...rest);
    }
    tunnel(o.host, Number(o.port) || 443, (err, socket) => {
      if (err) return done(err);
      done(null, openDirect.call(this, { ...o, socket }));
    });
    return undefined;
  };

  // http: the request line takes the absolute form (RFC 9112, section 3.2.2)
  // and the connection goes to the proxy.
  const add = http.Agent.prototype.addRequest;
  http.Agent.prototype.addRequest = function (req, options, ...rest) {
    const o = options && typeof options === 'object' ? options : null;
    if (!o || this instanceof https.Agent || this.protocol !== 'http:' || o.socketPath || /^https?:/.test(req.path) ||
        req.method === 'CONNECT' || direct(o.host, Number(o.port) || 80)) {
      return add.call(this, req, options, ...rest);
    }
    const port = Number(o.port) || 80;
    const before = req.path;
    const after = `http://${bracket(o.host)}${port === 80 ? '' : ':' + port}${before}`;
    if (req._header) req._header = req._header.replace(` ${before} `, () => ` ${after} `);
    req.path = after;
    return add.call(this, req, { ...o, host: proxy.hostname, hostname: proxy.hostname, port: proxyPort }, ...rest);
  };

  // fetch: Node's own client reads its dispatcher from this symbol. Touching
  // Headers loads it.
  const key = Symbol.for('undici.globalDispatcher.1');
  const plain = typeof globalThis.Headers === 'function' && globalThis[key];
  if (plain) {
    const proxied = new plain.constructor({
      connect(o, done) {
        if (o.protocol !== 'https:') {
          const s = net.connect(proxyPort, proxy.hostname);
          s.setNoDelay(true).once('connect', () => done(null, s)).once('error', done);
          return s;
        }
        tunnel(o.hostname.replace(/^\[|\]$/g, ''), Number(o.port) || 443, (err, socket) => {
          if (err) return done(err);
          const host = o.servername || o.hostname;
          const s = tls.connect({ socket, servername: net.isIP(host) ? '' : host, host, ALPNProtocols: ['http/1.1'] });
          s.once('secureConnect', () => done(null, s)).once('error', done);
        });
        return undefined;
      },
    });
    const send = proxied.dispatch;
    proxied.dispatch = function (o, handler) {
      const u = new URL(o.origin);
      const secure = u.protocol === 'https:';
      if (direct(u.hostname, Number(u.port) || (secure ? 443 : 80))) return plain.dispatch(o, handler);
      if (secure) return send.call(proxied, o, handler);
      const headers = Array.isArray(o.headers) ? [...o.headers, 'host', u.host] : { ...o.headers, host: u.host };
      return send.call(proxied, { ...o, origin: proxy.origin, path: u.origin + o.path, headers }, handler);
    };
    Object.defineProperty(globalThis, key, { value: proxied, writable: true, enumerable: false, configurable: false });
  }
}
