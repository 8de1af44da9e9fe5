// SPDX-License-Identifier: Apache-2.0
// TypeORM on a table whose columns the proxy protects. It compares the schema
// with the database's and must find nothing to change.
const assert = require('node:assert/strict')
const { createRequire } = require('node:module')
const require_ = createRequire(process.env.JS_MODULES + '/')
const { DataSource, EntitySchema, In, Like } = require_('typeorm')

const Account = new EntitySchema({
  name: 'Account', tableName: 'tor_accounts',
  columns: {
    id: { type: Number, primary: true, generated: true },
    email: { type: 'varchar', length: 120, unique: true },
    ssn: { type: 'varchar', length: 11, nullable: true },
    balance: { type: 'numeric', precision: 12, scale: 2, nullable: true },
    born: { type: 'date', nullable: true },
    joined: { type: 'timestamptz', nullable: true },
    settings: { type: 'jsonb', nullable: true },
    ref: { type: 'uuid', nullable: true },
    visits: { type: 'integer' },
    note: { type: 'text', nullable: true },
  },
  indices: [{ columns: ['ref'] }],
  relations: { orders: { type: 'one-to-many', target: 'Order', inverseSide: 'account' } },
})
const Order = new EntitySchema({
  name: 'Order', tableName: 'tor_orders',
  columns: { id: { type: Number, primary: true, generated: true }, item: { type: 'text' } },
  relations: { account: { type: 'many-to-one', target: 'Account', inverseSide: 'orders' } },
})

async function main() {
  const db = new DataSource({ type: 'postgres', driver: require_('pg'), url: process.argv[2], entities: [Account, Order], installExtensions: false })
  await db.initialize()
  await db.synchronize()
  const again = await db.driver.createSchemaBuilder().log()
  assert.deepEqual(again.upQueries.map((q) => q.query), [])

  const accounts = db.getRepository('Account')
  const ref = '0b8f9f0e-8f0f-4a50-9a51-7e6d3a2c1b00'
  const joined = new Date('2024-05-06T07:08:09.123Z')
  const ada = await accounts.save({ email: 'ada@tor', ssn: '078-05-1120', balance: '12.50', born: '1815-12-10', joined, settings: { a: [1, 'é'] }, ref, visits: 0, note: 'n' })
  await db.getRepository('Order').save({ item: 'engine', account: ada })
  const got = await accounts.findOne({ where: { email: 'ada@tor' }, relations: { orders: true } })
  assert.deepEqual([got.ssn, got.balance, got.born, got.joined, got.settings, got.ref, got.visits, got.orders[0].item],
    ['078-05-1120', '12.50', '1815-12-10', joined, { a: [1, 'é'] }, ref, 0, 'engine'])
  await accounts.insert(Array.from({ length: 100 }, (_, i) => ({ email: `bulk${i}@tor`, visits: i % 3 })))
  assert.equal(await accounts.countBy({ email: In(['bulk1@tor', 'bulk2@tor', 'none']) }), 2)
  assert.equal((await accounts.findOneBy({ ref })).id, ada.id)
  assert.equal((await accounts.findBy({ visits: 1 })).length, 33)
  got.ssn = '1'
  await accounts.save(got)
  await accounts.update({ email: 'bulk7@tor' }, { ssn: '7' })
  assert.equal((await accounts.findOneBy({ email: 'bulk7@tor' })).ssn, '7')
  await assert.rejects(db.transaction(async (m) => {
    await m.delete('Account', { email: 'bulk8@tor' })
    throw new Error('back')
  }), /back/)
  assert.equal((await accounts.delete({ email: 'bulk8@tor' })).affected, 1)
  await accounts.upsert({ email: 'ada@tor', ssn: '3', visits: 4 }, ['email'])
  assert.equal((await accounts.findOneBy({ email: 'ada@tor' })).ssn, '3')

  await assert.rejects(accounts.insert({ email: 'ada@tor', visits: 0 }), (e) => e.driverError.code === '23505')
  for (const wrong of [{ order: { email: 'ASC' } }, { where: { email: Like('a%') } }, { where: { ssn: '3' } }]) {
    await assert.rejects(accounts.find(wrong), (e) => e.driverError.code === '0A000' && e.driverError.hint !== undefined)
  }
  await db.destroy()
  console.log('ok')
}

main()
