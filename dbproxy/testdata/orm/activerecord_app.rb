# SPDX-License-Identifier: Apache-2.0
# Active Record's migrations, models and schema dump on a table whose columns the
# proxy protects.
require "active_record"
require "stringio"

ActiveRecord::Base.establish_connection(ARGV[0])
ActiveRecord::Migration.verbose = false

def check(what, got, want)
  raise "#{what}: got #{got.inspect}, want #{want.inspect}" unless got == want
end

class MakeAccounts < ActiveRecord::Migration[6.1]
  def change
    create_table :ar_accounts do |t|
      t.string :email, limit: 120, null: false, index: { unique: true }
      t.string :ssn, limit: 11
      t.decimal :balance, precision: 12, scale: 2
      t.date :born
      t.column :joined, :timestamptz
      t.jsonb :settings
      t.uuid :ref, index: true
      t.integer :visits, null: false, default: 0
      t.text :note
      t.timestamps
    end
    create_table(:ar_orders) do |t|
      t.references :account, foreign_key: { to_table: :ar_accounts }
      t.text :item
    end
  end
end

class AddCity < ActiveRecord::Migration[6.1]
  def change
    add_column :ar_accounts, :city, :string, limit: 40, null: false, default: "Wien"
    change_column_default :ar_accounts, :city, from: "Wien", to: "Graz"
  end
end

class Account < ActiveRecord::Base
  self.table_name = "ar_accounts"
  has_many :orders
end

class Order < ActiveRecord::Base
  self.table_name = "ar_orders"
  belongs_to :account
end

MakeAccounts.new.migrate(:up)
joined = Time.utc(2024, 5, 6, 7, 8, 9)
ref = "0b8f9f0e-8f0f-4a50-9a51-7e6d3a2c1b00"
ada = Account.create!(email: "ada@ar", ssn: "078-05-1120", balance: "12.50", born: Date.new(1815, 12, 10), joined: joined,
                      settings: { "a" => [1, "é"] }, ref: ref, note: "n")
ada.orders.create!(item: "engine")
got = Account.find_by!(email: "ada@ar")
check "row", [got.ssn, got.balance, got.born, got.joined.utc, got.settings, got.ref, got.visits],
      ["078-05-1120", BigDecimal("12.50"), Date.new(1815, 12, 10), joined, { "a" => [1, "é"] }, ref, 0]
now = Time.now
Account.insert_all!(Array.new(100) { |i| { email: "bulk#{i}@ar", visits: i % 3, created_at: now, updated_at: now } })
check "IN", Account.where(email: ["bulk1@ar", "bulk2@ar", "none"]).count, 2
check "uuid", Account.find_by!(ref: ref).id, ada.id
check "group", Account.group(:visits).count[1], 33
check "join", Account.joins(:orders).where(ar_orders: { item: "engine" }).pluck(:email), ["ada@ar"]
got.update!(ssn: "1")
check "update_all", Account.where(email: "bulk7@ar").update_all(ssn: "7"), 1
check "updated", Account.find_by!(email: "bulk7@ar").ssn, "7"
Account.transaction do
  Account.where(email: "bulk8@ar").delete_all
  raise ActiveRecord::Rollback
end
check "rollback", Account.where(email: "bulk8@ar").exists?, true
check "delete", Account.where(email: "bulk8@ar").delete_all, 1
check "find_or_create_by", Account.find_or_create_by!(email: "ada@ar").id, ada.id
Account.upsert_all([{ email: "ada@ar", ssn: "3", visits: 4, created_at: now, updated_at: now }], unique_by: :email)
check "upsert", Account.find_by!(email: "ada@ar").ssn, "3"
[[ActiveRecord::RecordNotUnique, -> { Account.create!(email: "ada@ar") }],
 [ActiveRecord::StatementInvalid, -> { Account.order(:email).to_a }],
 [ActiveRecord::StatementInvalid, -> { Account.where("email LIKE 'a%'").to_a }],
 [ActiveRecord::StatementInvalid, -> { Account.where(ssn: "3").to_a }]].each do |kind, wrong|
  begin
    wrong.call
  rescue kind => e
    state = e.cause.result.error_field(PG::Result::PG_DIAG_SQLSTATE)
    check "state of #{e.message}", %w[0A000 23505].include?(state), true
  else
    raise "no #{kind}"
  end
end

AddCity.new.migrate(:up)
Account.reset_column_information
check "default", Account.where(city: "Wien").count, 100
Account.connection.execute("INSERT INTO ar_accounts (email, created_at, updated_at) VALUES ('late@ar', now(), now())")
check "new default", Account.find_by!(email: "late@ar").city, "Graz"
check "columns", Account.columns.map { |c| "#{c.name} #{c.sql_type}" },
      ["id bigint", "email character varying(120)", "ssn character varying(11)", "balance numeric(12,2)", "born date", "joined timestamp with time zone",
       "settings jsonb", "ref uuid", "visits integer", "note text", "created_at timestamp(6) without time zone", "updated_at timestamp(6) without time zone",
       "city character varying(40)"]
dump = StringIO.new
ActiveRecord::SchemaDumper.dump(Account.connection, dump)
check "dump", dump.string.lines.grep(/t\.(string|decimal|jsonb|uuid|check_constraint|binary)/).map(&:strip),
      ['t.string "email", limit: 120, null: false', 't.string "ssn", limit: 11', 't.decimal "balance", precision: 12, scale: 2',
       't.jsonb "settings"', 't.uuid "ref"', 't.string "city", limit: 40, null: false']
check "guards", dump.string.include?("sidekey_sealed"), false
puts "ok"
