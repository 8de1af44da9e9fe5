// SPDX-License-Identifier: Apache-2.0
// Knex and node-postgres on a table whose columns the proxy protects.
const assert = require('node:assert/strict')
const { createRequire } = require('node:module')
const require_ = createRequire(process.env.JS_MODULES + '/')
const pg = require_('pg')
const knex = require_('knex')

async function main() {
  const db = knex({ client: 'pg', connection: process.argv[2] })
  await db.schema.createTable('knex_accounts', (t) => {
    t.increments('id')
    t.string('email', 120).notNullable().unique()
    t.string('ssn', 11)
    t.decimal('balance', 12, 2)
    t.date('born')
    t.timestamp('joined', { useTz: true })
    t.jsonb('settings')
    t.uuid('ref').index()
    t.integer('visits').notNullable().defaultTo(0)
    t.text('note')
  })
  const ref = '0b8f9f0e-8f0f-4a50-9a51-7e6d3a2c1b00'
  const joined = new Date('2024-05-06T07:08:09.123Z')
  const [{ id }] = await db('knex_accounts').insert({ email: 'ada@knex', ssn: '078-05-1120', balance: '12.50', born: '1815-12-10', joined, settings: { a: [1, 'é'] }, ref }).returning('id')
  const got = await db('knex_accounts').where({ email: 'ada@knex' }).first()
  assert.deepEqual([got.id, got.ssn, got.balance, got.joined, got.settings, got.ref, got.visits], [id, '078-05-1120', '12.50', joined, { a: [1, 'é'] }, ref, 0])
  await db.batchInsert('knex_accounts', Array.from({ length: 100 }, (_, i) => ({ email: `bulk${i}@knex`, visits: i % 3 })), 30)
  assert.equal((await db('knex_accounts').whereIn('email', ['bulk1@knex', 'none']).count())[0].count, '1')
  assert.equal(await db('knex_accounts').where({ email: 'bulk7@knex' }).update({ ssn: '7' }), 1)
  await assert.rejects(db.transaction(async (trx) => {
    await trx('knex_accounts').where({ email: 'bulk8@knex' }).del()
    throw new Error('back')
  }), /back/)
  assert.equal(await db('knex_accounts').where({ email: 'bulk8@knex' }).del(), 1)
  await db('knex_accounts').insert({ email: 'ada@knex', ssn: '3' }).onConflict('email').merge(['ssn'])
  assert.equal((await db('knex_accounts').where({ email: 'ada@knex' }).first()).ssn, '3')
  await assert.rejects(db('knex_accounts').insert({ email: 'ada@knex' }), { code: '23505' })
  await assert.rejects(db('knex_accounts').orderBy('email'), { code: '0A000' })
  await assert.rejects(db('knex_accounts').where('ssn', '3'), { code: '0A000' })
  await db.schema.alterTable('knex_accounts', (t) => t.string('city', 40).notNullable().defaultTo('Wien'))
  assert.equal((await db('knex_accounts').where({ city: 'Wien' }).count())[0].count, '100')

  const info = await db('knex_accounts').columnInfo()
  assert.deepEqual(Object.entries(info).map(([name, c]) => `${name} ${c.type} ${c.maxLength}`), ['id integer null', 'email character varying 120',
    'ssn character varying 11', 'balance numeric null', 'born date null', 'joined timestamp with time zone null', 'settings jsonb null', 'ref uuid null',
    'visits integer null', 'note text null', 'city character varying 40'])
  await db.destroy()

  // node-postgres itself: a named statement, a binary result, pipelined queries.
  const client = new pg.Client(process.argv[2])
  await client.connect()
  const query = { name: 'by-email', text: 'SELECT id, ssn, visits FROM knex_accounts WHERE email = $1', values: ['ada@knex'] }
  for (let i = 0; i < 8; i++) {
    assert.deepEqual((await client.query(query)).rows, [{ id, ssn: '3', visits: 0 }])
  }
  const fields = (await client.query('SELECT email, balance, settings, ref FROM knex_accounts')).fields
  assert.deepEqual(fields.map((f) => f.dataTypeID), [1043, 1700, 3802, 2950])
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) => client.query('SELECT email FROM knex_accounts WHERE email = ANY($1)', [[`bulk${i + 10}@knex`]])))
  assert.deepEqual(all.map((r) => r.rows[0].email), Array.from({ length: 20 }, (_, i) => `bulk${i + 10}@knex`))
  await assert.rejects(client.query('SELECT lower(email) FROM knex_accounts'), (e) => e.code === '0A000' && e.position === '14')
  await client.end()
  console.log('ok')
}

main()
