# SPDX-License-Identifier: Apache-2.0
# The models as they change: CRM_VERSION says how far.
import os
import uuid

from django.db import models

version = int(os.environ.get("CRM_VERSION", "1"))


class Account(models.Model):
    email = models.EmailField(unique=True)
    ssn = models.CharField(max_length=11 if version < 3 else 20, null=True)
    balance = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    born = models.DateField(null=True)
    joined = models.DateTimeField(auto_now_add=True)
    options = models.JSONField(default=dict)
    ref = models.UUIDField(default=uuid.uuid4, db_index=True)
    visits = models.IntegerField(default=0)
    if version >= 2:
        city = models.CharField(max_length=40, default="Wien")
        active = models.BooleanField(null=True)


class Order(models.Model):
    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    item = models.TextField()
