# SPDX-License-Identifier: Apache-2.0
# Uses the models as an application does.
import datetime
import decimal

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import IntegrityError, NotSupportedError, connection, models, transaction
from django.db.models import Count
from django.db.models.functions import Lower

from crm.models import Account, Order


class Command(BaseCommand):
    def handle(self, **options):
        Account.objects.all().delete()
        ada = Account.objects.create(email="ada@dj", ssn="078-05-1120", balance=decimal.Decimal("12.50"),
                                     born=datetime.date(1815, 12, 10), options={"a": [1, "é"]})
        Order.objects.create(account=ada, item="engine")
        got = Account.objects.get(email="ada@dj")
        assert (got.ssn, got.balance, got.born, got.joined, got.options, got.ref, got.visits) == (
            ada.ssn, ada.balance, ada.born, ada.joined, ada.options, ada.ref, 0), vars(got)
        Account.objects.bulk_create([Account(email="bulk%d@dj" % i, visits=i % 3) for i in range(100)])
        assert Account.objects.filter(email__in=["bulk1@dj", "bulk2@dj", "none"]).count() == 2
        assert Account.objects.filter(ref=ada.ref).exists()
        assert list(Account.objects.exclude(email="ada@dj").filter(ssn__isnull=False)) == []
        assert Account.objects.filter(order__item="engine").values_list("email", flat=True).get() == "ada@dj"
        assert dict(Account.objects.values_list("visits").annotate(n=Count("*")))[1] == 33
        got.ssn = "1"
        got.save()
        assert Account.objects.filter(email="bulk7@dj").update(ssn="7") == 1
        assert Account.objects.get(email="bulk7@dj").ssn == "7"
        made = Account.objects.get_or_create(email="new@dj", defaults={"visits": 5})
        assert made[1] and Account.objects.get_or_create(email="new@dj")[0].visits == 5
        assert Account.objects.update_or_create(email="new@dj", defaults={"ssn": "9"})[0].ssn == "9"
        try:
            with transaction.atomic():
                Account.objects.filter(email="bulk8@dj").delete()
                raise KeyError
        except KeyError:
            assert Account.objects.filter(email="bulk8@dj").count() == 1
        assert Account.objects.filter(email="bulk8@dj").delete()[0] == 1
        for wrong, kind in ((lambda: Account.objects.create(email="ada@dj"), IntegrityError),
                            (lambda: list(Account.objects.order_by("email")), NotSupportedError),
                            (lambda: list(Account.objects.filter(email__iexact="ADA@dj")), NotSupportedError),
                            (lambda: list(Account.objects.annotate(l=Lower("email"))), NotSupportedError),
                            (lambda: list(Account.objects.filter(ssn="1")), NotSupportedError)):
            try:
                with transaction.atomic():
                    wrong()
            except kind:
                continue
            raise SystemExit("no error")
        assert Account.objects.get(email="ada@dj").ssn == "1"
        User.objects.create_user("u", "u@dj", "p")
        User.objects.all().delete()
        with connection.cursor() as c:
            constraints = connection.introspection.get_constraints(c, "crm_account")
            columns = {d.name: (connection.introspection.get_field_type(d.type_code, d), d.internal_size)
                       for d in connection.introspection.get_table_description(c, "crm_account")}
        assert not [n for n in constraints if "sidekey" in n], constraints
        assert columns["email"] == ("CharField", 254) and columns["balance"][0] == "DecimalField" and columns["options"][0] == "JSONField", columns
        print("ok")
