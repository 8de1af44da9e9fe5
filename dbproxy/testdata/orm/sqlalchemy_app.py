# SPDX-License-Identifier: Apache-2.0
# SQLAlchemy's ORM and reflection on a table whose columns the proxy protects.
import datetime
import decimal
import sys
import uuid

from sqlalchemy import (CheckConstraint, Column, Date, DateTime, ForeignKey, Integer, MetaData, Numeric, String, Table, Text,
                        create_engine, func, inspect, select)
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert
from sqlalchemy.exc import DBAPIError, IntegrityError, NotSupportedError
from sqlalchemy.orm import Session, declarative_base, relationship

Base = declarative_base()


class Account(Base):
    __tablename__ = "sa_accounts"
    __table_args__ = (CheckConstraint("email <> ''", name="email_given"),)
    id = Column(Integer, primary_key=True)
    email = Column(String(120), unique=True, nullable=False)
    ssn = Column(String(11))
    balance = Column(Numeric(12, 2))
    born = Column(Date)
    joined = Column(DateTime(timezone=True))
    settings = Column(JSONB)
    ref = Column(UUID(as_uuid=True), index=True)
    visits = Column(Integer, nullable=False, server_default="0")
    note = Column(Text)
    orders = relationship("Order", back_populates="account")


class Order(Base):
    __tablename__ = "sa_orders"
    id = Column(Integer, primary_key=True)
    account_id = Column(ForeignKey("sa_accounts.id"))
    item = Column(Text)
    account = relationship("Account", back_populates="orders")


engine = create_engine(sys.argv[1])
Base.metadata.create_all(engine)
Base.metadata.create_all(engine)  # finds them
ref = uuid.uuid4()
joined = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=datetime.timezone.utc)
with Session(engine) as s:
    ada = Account(email="ada@sa", ssn="078-05-1120", balance=decimal.Decimal("12.50"), born=datetime.date(1815, 12, 10),
                  joined=joined, settings={"a": [1, "é"]}, ref=ref, note="n", orders=[Order(item="engine")])
    s.add(ada)
    s.add_all([Account(email="bulk%d@sa" % i, balance=i, visits=i % 3) for i in range(100)])
    s.commit()
    s.expire_all()
    got = s.query(Account).filter_by(email="ada@sa").one()
    assert (got.ssn, got.balance, got.born, got.joined, got.settings, got.ref, got.visits) == (
        "078-05-1120", decimal.Decimal("12.50"), datetime.date(1815, 12, 10), joined, {"a": [1, "é"]}, ref, 0), got.__dict__
    assert s.execute(select(Account.id).where(Account.ref == ref)).scalar_one() == got.id
    assert s.query(Account).filter(Account.email.in_(["bulk1@sa", "bulk2@sa", "none"])).count() == 2
    assert s.query(Account.email, Order.item).join(Order).all() == [("ada@sa", "engine")]
    assert dict(s.query(Account.visits, func.count()).group_by(Account.visits).all())[1] == 33
    got.ssn, got.settings = "1", None
    s.commit()
    assert s.query(Account.ssn, Account.settings).filter(Account.id == got.id).one() == ("1", None)
    s.query(Account).filter(Account.email == "bulk7@sa").update({"ssn": "7"})
    s.query(Account).filter(Account.email == "bulk8@sa").delete()
    s.rollback()
    assert s.query(Account).filter_by(email="bulk8@sa").one().ssn is None
    assert s.query(Account).filter_by(email="bulk7@sa").one().ssn is None
    s.delete(s.query(Account).filter_by(email="bulk8@sa").one())
    s.commit()
    assert s.query(Account).count() == 100
    up = insert(Account).values(email="ada@sa", ssn="2").on_conflict_do_update(index_elements=["email"], set_={"ssn": "3"}).returning(Account.ssn)
    assert s.execute(up).scalar_one() == "3"
    s.commit()
    for wrong, kind in ((lambda: s.add(Account(email="ada@sa")) or s.flush(), IntegrityError),
                        (lambda: s.add(Account(email="")) or s.flush(), IntegrityError),
                        (lambda: s.query(Account).order_by(Account.email).all(), NotSupportedError),
                        (lambda: s.query(Account).filter(Account.email.like("a%")).all(), NotSupportedError),
                        (lambda: s.query(func.lower(Account.email)).all(), NotSupportedError),
                        (lambda: s.query(Account).filter(Account.ssn == "1").all(), NotSupportedError)):
        try:
            wrong()
            raise SystemExit("no error")
        except DBAPIError as e:
            assert isinstance(e, kind), e
            s.rollback()

described = inspect(engine)
types = {c["name"]: str(c["type"]) for c in described.get_columns("sa_accounts")}
assert types == {"id": "INTEGER", "email": "VARCHAR(120)", "ssn": "VARCHAR(11)", "balance": "NUMERIC(12, 2)", "born": "DATE", "joined": "TIMESTAMP",
                 "settings": "JSONB", "ref": "UUID", "visits": "INTEGER", "note": "TEXT"}, types
assert [c["name"] for c in described.get_check_constraints("sa_accounts")] == ["email_given"], described.get_check_constraints("sa_accounts")
assert described.get_unique_constraints("sa_accounts") == [{"name": "sa_accounts_email_key", "column_names": ["email"]}]
assert sorted(i["name"] for i in described.get_indexes("sa_accounts")) == ["ix_sa_accounts_ref", "sa_accounts_email_key"]
assert described.get_pk_constraint("sa_accounts")["constrained_columns"] == ["id"]
assert described.get_foreign_keys("sa_orders")[0]["referred_table"] == "sa_accounts"
reflected = Table("sa_accounts", MetaData(), autoload_with=engine)
with engine.begin() as c:
    assert c.execute(select(reflected.c.email, reflected.c.balance).where(reflected.c.email == "bulk9@sa")).one() == ("bulk9@sa", decimal.Decimal("9.00"))
print("ok")
