// SPDX-License-Identifier: Apache-2.0

import java.math.BigDecimal;
import java.sql.*;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.UUID;

/** Uses a table with protected columns as JDBC does; its argument is a mode of the driver. */
public class Jdbc {
    static final String INSERT = "INSERT INTO jdbc_accounts (email, ssn, balance, born, joined, settings, ref, visits, mood, tags, active) "
        + "VALUES (?, ?, ?, ?, ?, ?::jsonb, ?, ?, ?::mood, ?, ?)";
    static Connection conn;

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("user", System.getenv("PGUSER"));
        for (int i = 0; i < args.length; i++) {
            String[] pair = args[i].split("=");
            properties.put(pair[0], pair[1]);
        }
        conn = DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"), properties);
        try (Statement s = conn.createStatement()) {
            for (String sql : new String[] {"DROP TABLE IF EXISTS jdbc_accounts", "DROP TYPE IF EXISTS mood", "CREATE TYPE mood AS ENUM ('sad', 'ok')",
                "CREATE TABLE jdbc_accounts (id bigserial PRIMARY KEY, email varchar(120) NOT NULL UNIQUE, ssn varchar(11), balance numeric(12,2), born date, joined timestamptz, "
                + "settings jsonb, ref uuid, visits int, mood mood, tags text[], active boolean)"}) {
                s.execute(sql);
            }
        }
        try (Statement s = conn.createStatement()) { // a pipeline
            s.execute("ALTER TABLE jdbc_accounts ADD COLUMN extra int; INSERT INTO jdbc_accounts (email, visits) VALUES ('gone', 1); DELETE FROM jdbc_accounts WHERE email = 'gone'; ALTER TABLE jdbc_accounts DROP COLUMN extra; ALTER SEQUENCE jdbc_accounts_id_seq RESTART");
        }
        batches();
        reads();
        writes();
        describes();
        if (!args[0].equals("preferQueryMode=simple")) { // which cannot ask
            parameters();
        }
        System.out.println("ok");
    }

    static void bind(PreparedStatement p, int i) throws SQLException {
        p.setString(1, "u" + i + "@example.com");
        p.setString(2, "078-05-1120");
        p.setBigDecimal(3, new BigDecimal("10.50"));
        p.setObject(4, LocalDate.of(1980, 1, i));
        p.setObject(5, OffsetDateTime.of(2024, 1, i, 12, 0, 0, 123456000, ZoneOffset.UTC));
        p.setString(6, "{\"n\": " + i + "}");
        p.setObject(7, new UUID(0, i));
        p.setInt(8, i);
        p.setString(9, i % 2 == 0 ? "ok" : "sad");
        p.setArray(10, conn.createArrayOf("text", new String[] {"a", null, "b \"" + i}));
        p.setBoolean(11, i % 2 == 0);
    }

    static void batches() throws SQLException {
        try (PreparedStatement p = conn.prepareStatement(INSERT)) {
            for (int i = 1; i <= 20; i++) {
                bind(p, i);
                p.addBatch();
            }
            check("batch", p.executeBatch().length, 20);
        }
        try (PreparedStatement p = conn.prepareStatement(INSERT, new String[] {"id", "email", "mood"})) {
            bind(p, 21);
            p.executeUpdate();
            check("generated keys", rows(p.getGeneratedKeys()), "[21|u21@example.com|sad]");
        }
    }

    static void reads() throws SQLException {
        // From the fifth time on the driver has the server prepare it, and asks for binary.
        try (PreparedStatement p = conn.prepareStatement("SELECT id, balance, born, ref, visits, mood, tags, active FROM jdbc_accounts WHERE email = ? AND visits <> ? AND ref <> ?")) {
            for (int i = 1; i <= 8; i++) {
                p.setString(1, "u" + i + "@example.com");
                p.setLong(2, 0);
                p.setObject(3, new UUID(9, 9));
                try (ResultSet r = p.executeQuery()) {
                    r.next();
                    String got = r.getLong(1) + "|" + r.getBigDecimal(2) + "|" + r.getObject(3, LocalDate.class) + "|" + r.getObject(4) + "|" + r.getInt(5) + "|" + r.getString(6) + "|"
                        + ((String[]) r.getArray(7).getArray())[2] + "|" + r.getBoolean(8);
                    check("prepared", got, i + "|10.50|1980-01-0" + i + "|" + new UUID(0, i) + "|" + i + "|" + (i % 2 == 0 ? "ok" : "sad") + "|b \"" + i + "|" + (i % 2 == 0));
                }
            }
        }
        conn.setAutoCommit(false);
        try (PreparedStatement p = conn.prepareStatement("SELECT email, joined FROM jdbc_accounts ORDER BY id")) {
            p.setFetchSize(3);
            int n = 0;
            try (ResultSet r = p.executeQuery()) {
                while (r.next()) {
                    check("cursor", r.getObject(2, OffsetDateTime.class), OffsetDateTime.of(2024, 1, ++n, 12, 0, 0, 123456000, ZoneOffset.UTC));
                }
            }
            check("cursor", n, 21);
        }
        conn.commit();
        conn.setAutoCommit(true);
    }

    static void writes() throws SQLException {
        try (Statement s = conn.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE); ResultSet r = s.executeQuery("SELECT id, email, visits FROM jdbc_accounts WHERE id = 2")) {
            r.next();
            r.updateInt("visits", 77);
            r.updateRow();
        }
        try (PreparedStatement p = conn.prepareStatement(INSERT + " ON CONFLICT (email) DO UPDATE SET visits = excluded.visits + 0 * jdbc_accounts.id RETURNING id")) {
            bind(p, 1);
            p.executeQuery();
            throw new IllegalStateException("arithmetic on a protected column was answered");
        } catch (SQLException e) {
            check("refusal", e.getSQLState(), "0A000");
        }
        try (PreparedStatement p = conn.prepareStatement("SELECT email FROM jdbc_accounts WHERE mood IN (?::mood, CAST(? AS mood)) AND active AND visits = ANY (?) ORDER BY id")) {
            p.setString(1, "sad");
            p.setString(2, "ok");
            p.setArray(3, conn.createArrayOf("int4", new Integer[] {1, 4, 77}));
            check("enum, bool and array", rows(p.executeQuery()), "[u2@example.com, u4@example.com]");
        }
        try (PreparedStatement p = conn.prepareStatement(INSERT)) {
            bind(p, 3);
            p.executeUpdate();
            throw new IllegalStateException("a duplicate was stored");
        } catch (SQLException e) {
            check("duplicate", e.getSQLState(), "23505");
        }
    }

    static void describes() throws SQLException {
        List<String> columns = new ArrayList<>();
        try (ResultSet r = conn.getMetaData().getColumns(null, "public", "jdbc_accounts", null)) {
            while (r.next()) {
                columns.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME") + " " + r.getInt("COLUMN_SIZE") + " " + r.getInt("DECIMAL_DIGITS"));
            }
        }
        check("columns", columns, "[id bigserial 19 0, email varchar 120 0, ssn varchar 11 0, balance numeric 12 2, born date 13 0, joined timestamptz 35 6, settings jsonb 2147483647 0, "
            + "ref uuid 2147483647 0, visits int4 10 0, mood mood 2147483647 0, tags _text 2147483647 0, active bool 1 0]");
    }

    static void parameters() throws SQLException {
        try (PreparedStatement p = conn.prepareStatement(INSERT)) {
            check("parameter", p.getParameterMetaData().getParameterTypeName(3), "numeric");
        }
    }

    static String rows(ResultSet r) throws SQLException {
        List<String> out = new ArrayList<>();
        while (r.next()) {
            List<String> row = new ArrayList<>();
            for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) {
                row.add(r.getString(i));
            }
            out.add(String.join("|", row));
        }
        return out.toString();
    }

    static void check(String what, Object got, Object want) {
        if (!got.toString().equals(want.toString())) {
            throw new IllegalStateException(what + ": got " + got + ", want " + want);
        }
    }
}
