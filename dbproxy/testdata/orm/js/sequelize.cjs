// SPDX-License-Identifier: Apache-2.0
// Sequelize on a table whose columns the proxy protects.
const assert = require('node:assert/strict')
const { createRequire } = require('node:module')
const { DataTypes, Op, Sequelize } = createRequire(process.env.JS_MODULES + '/')('sequelize')

async function main() {
  const db = new Sequelize(process.argv[2], { logging: false, dialectModule: createRequire(process.env.JS_MODULES + '/')('pg') })
  const Account = db.define('Account', {
    email: { type: DataTypes.STRING(120), unique: true, allowNull: false },
    ssn: DataTypes.STRING(11),
    balance: DataTypes.DECIMAL(12, 2),
    born: DataTypes.DATEONLY,
    joined: DataTypes.DATE,
    settings: DataTypes.JSONB,
    ref: DataTypes.UUID,
    visits: { type: DataTypes.INTEGER, defaultValue: 0 },
    note: DataTypes.TEXT,
  }, { tableName: 'seq_accounts', indexes: [{ fields: ['ref'] }] })
  const Order = db.define('Order', { item: DataTypes.TEXT }, { tableName: 'seq_orders' })
  Order.belongsTo(Account)
  Account.hasMany(Order)
  await db.sync()
  await db.sync({ alter: false })

  const ref = '0b8f9f0e-8f0f-4a50-9a51-7e6d3a2c1b00'
  const joined = new Date('2024-05-06T07:08:09.123Z')
  const ada = await Account.create({ email: 'ada@seq', ssn: '078-05-1120', balance: '12.50', born: '1815-12-10', joined, settings: { a: [1, 'é'] }, ref, note: 'n' })
  await ada.createOrder({ item: 'engine' })
  const got = await Account.findOne({ where: { email: 'ada@seq' }, include: Order })
  assert.deepEqual([got.ssn, got.balance, got.born, got.joined, got.settings, got.ref, got.visits, got.Orders[0].item],
    ['078-05-1120', '12.50', '1815-12-10', joined, { a: [1, 'é'] }, ref, 0, 'engine'])
  await Account.bulkCreate(Array.from({ length: 100 }, (_, i) => ({ email: `bulk${i}@seq`, visits: i % 3 })))
  assert.equal(await Account.count({ where: { email: { [Op.in]: ['bulk1@seq', 'bulk2@seq', 'none'] } } }), 2)
  assert.equal((await Account.findOne({ where: { ref } })).id, ada.id)
  assert.equal((await Account.findAll({ where: { visits: 1 } })).length, 33)
  got.ssn = '1'
  await got.save()
  await Account.update({ ssn: '7' }, { where: { email: 'bulk7@seq' } })
  assert.equal((await Account.findOne({ where: { email: 'bulk7@seq' } })).ssn, '7')
  await assert.rejects(db.transaction(async (transaction) => {
    await Account.destroy({ where: { email: 'bulk8@seq' }, transaction })
    throw new Error('back')
  }), /back/)
  assert.equal(await Account.destroy({ where: { email: 'bulk8@seq' } }), 1)
  const [upserted] = await Account.upsert({ email: 'ada@seq', ssn: '3' }, { conflictFields: ['email'] })
  assert.equal(upserted.ssn, '3')

  await assert.rejects(Account.create({ email: 'ada@seq' }), { name: 'SequelizeUniqueConstraintError' })
  await assert.rejects(Account.findAll({ order: ['email'] }), (e) => e.original.code === '0A000' && e.original.hint !== undefined)
  await assert.rejects(Account.findAll({ where: { email: { [Op.like]: 'a%' } } }), (e) => e.original.code === '0A000')
  await assert.rejects(Account.findAll({ where: { ssn: '3' } }), (e) => e.original.code === '0A000')

  const described = await db.getQueryInterface().describeTable('seq_accounts')
  const types = Object.fromEntries(Object.entries(described).map(([name, c]) => [name, c.type]))
  assert.deepEqual(types, { id: 'INTEGER', email: 'CHARACTER VARYING(120)', ssn: 'CHARACTER VARYING(11)', balance: 'NUMERIC', born: 'DATE',
    joined: 'TIMESTAMP WITH TIME ZONE', settings: 'JSONB', ref: 'UUID', visits: 'INTEGER', note: 'TEXT',
    createdAt: 'TIMESTAMP WITH TIME ZONE', updatedAt: 'TIMESTAMP WITH TIME ZONE' })
  const indexes = (await db.getQueryInterface().showIndex('seq_accounts')).map((i) => i.name).sort()
  assert.deepEqual(indexes, ['seq_accounts_email_key', 'seq_accounts_pkey', 'seq_accounts_ref'])
  await db.close()
  console.log('ok')
}

main()
