'use strict'
// As in the README, with the keep-alive agent that it recommends for production, and X-Forwarded-* enabled.
const { Agent } = require('node:http')
const express = require('express')
const { createProxyMiddleware } = require('http-proxy-middleware')

const app = express()
app.disable('x-powered-by')
app.use(createProxyMiddleware({
  target: `http://127.0.0.1:${process.env.UPSTREAM}`,
  pathFilter: '/posts',
  changeOrigin: true,
  xfwd: true,
  agent: new Agent({ keepAlive: true, maxSockets: 128 })
}))

app.listen(Number(process.env.PORT), '127.0.0.1')
