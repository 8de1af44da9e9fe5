/* SPDX-License-Identifier: Apache-2.0
 *
 * A PKCS#11 module that forwards to the module REAL and misbehaves as the file
 * named by SHIM_CONTROL says. Each line is
 *
 *	C_Name hang            every call waits until the line is gone
 *	C_Name hangone         the first call waits until the line is gone
 *	C_Name fail CODE       calls return CODE (hexadecimal)
 *	C_Name mech MECH CODE  calls with this mechanism return CODE
 *	C_Name iv              C_EncryptInit uses a nonce of its own
 *	C_Name flip            C_Sign changes a bit, each time another
 *	C_Name limit N         C_OpenSession gives at most N sessions
 *
 * and each call of a hooked function adds its name to SHIM_CONTROL.trace if
 * that file exists.
 *
 * SoftHSM 2.6.1 crashes if C_Logout or C_CloseAllSessions frees what a call in
 * another thread is using, so here these two wait until no other call is
 * inside.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "pkcs11go.h"

static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST shim;
static atomic_int sessions, held, hanging;
static pthread_rwlock_t inside = PTHREAD_RWLOCK_INITIALIZER;

static void trace(const char *name)
{
	char path[4096];
	FILE *f;
	snprintf(path, sizeof path, "%s.trace", getenv("SHIM_CONTROL"));
	if ((f = fopen(path, "r+")) == NULL)
		return;
	fseek(f, 0, SEEK_END);
	fprintf(f, "%s\n", name);
	fclose(f);
}

/* rule finds the line of a function and verb. */
static int rule(const char *name, const char *verb, unsigned long *a, unsigned long *b)
{
	char line[256], n[64], v[64];
	int found = 0;
	FILE *f = fopen(getenv("SHIM_CONTROL"), "r");
	if (f == NULL)
		return 0;
	while (!found && fgets(line, sizeof line, f) != NULL) {
		*a = *b = 0;
		if (sscanf(line, "%63s %63s %lx %lx", n, v, a, b) >= 2)
			found = strcmp(n, name) == 0 && strcmp(v, verb) == 0;
	}
	fclose(f);
	return found;
}

static CK_RV before(const char *name, CK_MECHANISM_PTR m)
{
	unsigned long a, b;
	trace(name);
	if (rule(name, "hangone", &a, &b) && atomic_exchange(&held, 1) == 0) {
		while (rule(name, "hangone", &a, &b))
			usleep(1000);
		atomic_store(&held, 0);
	}
	atomic_fetch_add(&hanging, 1);
	while (rule(name, "hang", &a, &b))
		usleep(1000);
	atomic_fetch_sub(&hanging, 1);
	if (rule(name, "fail", &a, &b))
		return a;
	if (m != NULL && rule(name, "mech", &a, &b) && m->mechanism == a)
		return b;
	return CKR_OK;
}

#define HOOK(name, mech, params, args) \
	static CK_RV hook_##name params \
	{ \
		CK_RV rv = before(#name, mech); \
		if (rv != CKR_OK) \
			return rv; \
		pthread_rwlock_rdlock(&inside); \
		rv = real->name args; \
		pthread_rwlock_unlock(&inside); \
		return rv; \
	}

#define ALONE(name, params, args) \
	static CK_RV hook_##name params \
	{ \
		pthread_rwlock_wrlock(&inside); \
		CK_RV rv = real->name args; \
		pthread_rwlock_unlock(&inside); \
		return rv; \
	}

ALONE(C_Logout, (CK_SESSION_HANDLE s), (s))
ALONE(C_CloseAllSessions, (CK_SLOT_ID s), (s))
HOOK(C_DestroyObject, NULL, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o), (s, o))
HOOK(C_GetAttributeValue, NULL, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR a, CK_ULONG n), (s, o, a, n))
HOOK(C_FindObjectsInit, NULL, (CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR a, CK_ULONG n), (s, a, n))
HOOK(C_FindObjects, NULL, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE_PTR o, CK_ULONG m, CK_ULONG_PTR n), (s, o, m, n))
HOOK(C_FindObjectsFinal, NULL, (CK_SESSION_HANDLE s), (s))
HOOK(C_GetTokenInfo, NULL, (CK_SLOT_ID s, CK_TOKEN_INFO_PTR i), (s, i))
HOOK(C_GetSessionInfo, NULL, (CK_SESSION_HANDLE s, CK_SESSION_INFO_PTR i), (s, i))

HOOK(C_Login, NULL, (CK_SESSION_HANDLE s, CK_USER_TYPE u, CK_UTF8CHAR_PTR p, CK_ULONG n), (s, u, p, n))
HOOK(C_GenerateRandom, NULL, (CK_SESSION_HANDLE s, CK_BYTE_PTR p, CK_ULONG n), (s, p, n))
HOOK(C_Encrypt, NULL, (CK_SESSION_HANDLE s, CK_BYTE_PTR d, CK_ULONG n, CK_BYTE_PTR e, CK_ULONG_PTR l), (s, d, n, e, l))
HOOK(C_Decrypt, NULL, (CK_SESSION_HANDLE s, CK_BYTE_PTR d, CK_ULONG n, CK_BYTE_PTR e, CK_ULONG_PTR l), (s, d, n, e, l))
HOOK(C_DecryptInit, m, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k), (s, m, k))
HOOK(C_GenerateKey, m, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR a, CK_ULONG n, CK_OBJECT_HANDLE_PTR k), (s, m, a, n, k))
HOOK(C_WrapKey, m, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE w, CK_OBJECT_HANDLE k, CK_BYTE_PTR p, CK_ULONG_PTR n), (s, m, w, k, p, n))
HOOK(C_UnwrapKey, m, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE w, CK_BYTE_PTR p, CK_ULONG n, CK_ATTRIBUTE_PTR a, CK_ULONG c, CK_OBJECT_HANDLE_PTR k), (s, m, w, p, n, a, c, k))
HOOK(C_DeriveKey, m, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE b, CK_ATTRIBUTE_PTR a, CK_ULONG c, CK_OBJECT_HANDLE_PTR k), (s, m, b, a, c, k))

HOOK(C_SignInit, m, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k), (s, m, k))
static CK_RV hook_C_Sign(CK_SESSION_HANDLE s, CK_BYTE_PTR d, CK_ULONG n, CK_BYTE_PTR g, CK_ULONG_PTR l)
{
	static atomic_int flips;
	unsigned long a, b;
	CK_RV rv = before("C_Sign", NULL);
	if (rv != CKR_OK)
		return rv;
	pthread_rwlock_rdlock(&inside);
	rv = real->C_Sign(s, d, n, g, l);
	pthread_rwlock_unlock(&inside);
	if (rv == CKR_OK && g != NULL && *l > 0 && rule("C_Sign", "flip", &a, &b))
		g[0] ^= 1 + atomic_fetch_add(&flips, 1) % 2;
	return rv;
}

HOOK(C_CreateObject, NULL, (CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR a, CK_ULONG n, CK_OBJECT_HANDLE_PTR o), (s, a, n, o))
HOOK(C_GenerateKeyPair, m, (CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR a, CK_ULONG n, CK_ATTRIBUTE_PTR b, CK_ULONG c, CK_OBJECT_HANDLE_PTR p, CK_OBJECT_HANDLE_PTR k), (s, m, a, n, b, c, p, k))

static CK_RV hook_C_EncryptInit(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k)
{
	unsigned long a, b;
	CK_RV rv = before("C_EncryptInit", m);
	if (rv != CKR_OK)
		return rv;
	if (m->mechanism == CKM_AES_GCM && rule("C_EncryptInit", "iv", &a, &b))
		memset(((CK_GCM_PARAMS_PTR)m->pParameter)->pIv, 0x5a, 12);
	pthread_rwlock_rdlock(&inside);
	rv = real->C_EncryptInit(s, m, k);
	pthread_rwlock_unlock(&inside);
	return rv;
}

static CK_RV hook_C_OpenSession(CK_SLOT_ID id, CK_FLAGS f, CK_VOID_PTR p, CK_NOTIFY n, CK_SESSION_HANDLE_PTR s)
{
	unsigned long a, b;
	CK_RV rv = before("C_OpenSession", NULL);
	if (rv != CKR_OK)
		return rv;
	if (!rule("C_OpenSession", "limit", &a, &b))
		atomic_store(&sessions, 0); /* count from when there is a limit */
	else if (atomic_fetch_add(&sessions, 1) >= (int)a) {
		atomic_fetch_sub(&sessions, 1);
		return CKR_SESSION_COUNT;
	}
	pthread_rwlock_rdlock(&inside);
	rv = real->C_OpenSession(id, f, p, n, s);
	pthread_rwlock_unlock(&inside);
	if (rv != CKR_OK)
		atomic_fetch_sub(&sessions, 1);
	return rv;
}

static CK_RV hook_C_CloseSession(CK_SESSION_HANDLE s)
{
	CK_RV rv = before("C_CloseSession", NULL);
	if (rv != CKR_OK)
		return rv;
	pthread_rwlock_rdlock(&inside);
	rv = real->C_CloseSession(s);
	pthread_rwlock_unlock(&inside);
	if (rv == CKR_OK && atomic_load(&sessions) > 0)
		atomic_fetch_sub(&sessions, 1);
	return rv;
}

static CK_RV hook_C_Finalize(CK_VOID_PTR p)
{
	trace(atomic_load(&hanging) > 0 ? "C_Finalize under a call" : "C_Finalize");
	return real->C_Finalize(p);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out)
{
	void *lib = dlopen(REAL, RTLD_NOW);
	CK_C_GetFunctionList get = lib ? (CK_C_GetFunctionList)dlsym(lib, "C_GetFunctionList") : NULL;
	if (get == NULL || get(&real) != CKR_OK)
		return CKR_GENERAL_ERROR;
	shim = *real;
	shim.C_Finalize = hook_C_Finalize;
	shim.C_Login = hook_C_Login;
	shim.C_GenerateRandom = hook_C_GenerateRandom;
	shim.C_EncryptInit = hook_C_EncryptInit;
	shim.C_Encrypt = hook_C_Encrypt;
	shim.C_DecryptInit = hook_C_DecryptInit;
	shim.C_Decrypt = hook_C_Decrypt;
	shim.C_GenerateKey = hook_C_GenerateKey;
	shim.C_WrapKey = hook_C_WrapKey;
	shim.C_UnwrapKey = hook_C_UnwrapKey;
	shim.C_DeriveKey = hook_C_DeriveKey;
	shim.C_SignInit = hook_C_SignInit;
	shim.C_Sign = hook_C_Sign;
	shim.C_CreateObject = hook_C_CreateObject;
	shim.C_GenerateKeyPair = hook_C_GenerateKeyPair;
	shim.C_OpenSession = hook_C_OpenSession;
	shim.C_CloseSession = hook_C_CloseSession;
	shim.C_Logout = hook_C_Logout;
	shim.C_CloseAllSessions = hook_C_CloseAllSessions;
	shim.C_DestroyObject = hook_C_DestroyObject;
	shim.C_GetAttributeValue = hook_C_GetAttributeValue;
	shim.C_FindObjectsInit = hook_C_FindObjectsInit;
	shim.C_FindObjects = hook_C_FindObjects;
	shim.C_FindObjectsFinal = hook_C_FindObjectsFinal;
	shim.C_GetTokenInfo = hook_C_GetTokenInfo;
	shim.C_GetSessionInfo = hook_C_GetSessionInfo;
	*out = &shim;
	return CKR_OK;
}
