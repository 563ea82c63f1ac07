'use strict'
// As in the plugin's README: undici's pool with its default settings, no log line per request.
const fastify = require('fastify')({ logger: { level: 'error' }, disableRequestLogging: true })

fastify.register(require('@fastify/http-proxy'), {
  upstream: `http://127.0.0.1:${process.env.UPSTREAM}`,
  prefix: '/posts',
  rewritePrefix: '/posts',
  undici: { connections: 128, pipelining: 1, keepAliveTimeout: 60000 }
})

fastify.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
