/* docs/openapi.json describes every route of the table, and no other: paths, methods, parameters with their
 * types, bounds and choices, and who needs a token.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/admin/call.h"

#include <stdio.h>
#include <string.h>

static json_t *doc;

static int load(void **state)
{
    (void)state;
    json_error_t e;
    doc = json_loadb((const char *)admin_openapi, admin_openapi_len, 0, &e);
    if (doc == NULL)
        fprintf(stderr, "openapi.json:%d: %s\n", e.line, e.text);
    return doc == NULL;
}

static int unload(void **state)
{
    (void)state;
    json_decref(doc);
    return 0;
}

static const json_t *operation_of(const struct admin_route *r)
{
    const json_t *path = json_object_get(json_object_get(doc, "paths"), r->path);
    return json_object_get(path, r->method[0] == 'G' ? "get" : "post");
}

static void test_every_route_is_described(void **state)
{
    (void)state;
    for (size_t i = 0; i < admin_nroutes; i++) {
        const json_t *op = operation_of(&admin_routes[i]);
        if (op == NULL)
            fail_msg("%s %s is not described", admin_routes[i].method, admin_routes[i].path);
        assert_string_equal(json_string_value(json_object_get(op, "summary")) + 1,
                            admin_routes[i].summary + 1);
        const json_t *security = json_object_get(op, "security");
        bool open = admin_routes[i].flags & ADMIN_ROUTE_OPEN;
        assert_true(open ? json_array_size(security) == 0 && security != NULL : security == NULL);
    }
}

static void test_nothing_else_is_described(void **state)
{
    (void)state;
    const char *path, *method;
    json_t *item, *op;
    size_t n = 0;
    json_object_foreach(json_object_get(doc, "paths"), path, item)
    {
        json_object_foreach(item, method, op)
        {
            bool found = false;
            for (size_t i = 0; i < admin_nroutes; i++)
                found |= strcmp(admin_routes[i].path, path) == 0 && operation_of(&admin_routes[i]) == op;
            if (!found)
                fail_msg("%s %s is described but not served", method, path);
            n++;
        }
    }
    assert_int_equal(n, admin_nroutes);
}

static const char *type_name(enum admin_type type)
{
    switch (type) {
    case ADMIN_TYPE_INT:
        return "integer";
    case ADMIN_TYPE_BOOL:
        return "boolean";
    case ADMIN_TYPE_IDS:
    case ADMIN_TYPE_STRINGS:
    case ADMIN_TYPE_OBJECTS:
        return "array";
    default:
        return "string";
    }
}

static void check_schema(const struct admin_param *p, const json_t *schema, const char *where)
{
    if (schema == NULL)
        fail_msg("%s: %s is not described", where, p->name);
    assert_string_equal(json_string_value(json_object_get(schema, "type")), type_name(p->type));
    if (p->type == ADMIN_TYPE_INT) {
        assert_int_equal(json_integer_value(json_object_get(schema, "minimum")), p->min);
        assert_int_equal(json_integer_value(json_object_get(schema, "maximum")), p->max);
    }
    if (p->type == ADMIN_TYPE_STRINGS || p->type == ADMIN_TYPE_OBJECTS)
        assert_int_equal(json_integer_value(json_object_get(schema, "maxItems")), p->max);
    if (p->type == ADMIN_TYPE_IDS)
        assert_int_equal(json_integer_value(json_object_get(schema, "maxItems")), ADMIN_IDS_MAX);
    if (p->type != ADMIN_TYPE_CHOICE) {
        assert_null(json_object_get(schema, "enum"));
        return;
    }
    char joined[256] = "";
    size_t i;
    json_t *choice;
    json_array_foreach(json_object_get(schema, "enum"), i, choice)
    {
        size_t at = strlen(joined);
        snprintf(joined + at, sizeof(joined) - at, "%s%s", i > 0 ? "|" : "", json_string_value(choice));
    }
    assert_string_equal(joined, p->choices);
}

static const json_t *query_param(const json_t *op, const char *name, const char *in)
{
    size_t i;
    json_t *param;
    json_array_foreach(json_object_get(op, "parameters"), i, param)
    {
        if (strcmp(json_string_value(json_object_get(param, "name")), name) == 0 &&
            strcmp(json_string_value(json_object_get(param, "in")), in) == 0)
            return param;
    }
    return NULL;
}

static bool listed(const json_t *array, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(array, i, item)
    {
        if (strcmp(json_string_value(item), name) == 0)
            return true;
    }
    return false;
}

static void check_body(const struct admin_param *params, const json_t *schema, const char *where)
{
    size_t n = 0;
    const json_t *props = json_object_get(schema, "properties");
    assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
    for (const struct admin_param *p = params; p->name != NULL; p++, n++) {
        check_schema(p, json_object_get(props, p->name), where);
        if (json_string_length(json_object_get(json_object_get(props, p->name), "description")) == 0)
            fail_msg("%s does not describe %s", where, p->name);
        assert_int_equal(listed(json_object_get(schema, "required"), p->name), p->required);
        if (p->type == ADMIN_TYPE_OBJECTS)
            check_body(admin_account_params, json_object_get(json_object_get(props, p->name), "items"),
                       where);
    }
    assert_int_equal(json_object_size(props), n);
}

static void test_parameters_are_described(void **state)
{
    (void)state;
    for (size_t i = 0; i < admin_nroutes; i++) {
        const struct admin_route *r = &admin_routes[i];
        const json_t *op = operation_of(r);
        size_t n = 0;
        if (strstr(r->path, "{id}") != NULL) {
            assert_non_null(query_param(op, "id", "path"));
            n++;
        }
        if (r->method[0] == 'P') {
            const json_t *content = json_object_get(json_object_get(op, "requestBody"), "content");
            check_body(r->params, json_object_get(json_object_get(content, "application/json"), "schema"),
                       r->path);
        } else {
            for (const struct admin_param *p = r->params; p->name != NULL; p++, n++) {
                const json_t *param = query_param(op, p->name, "query");
                check_schema(p, json_object_get(param, "schema"), r->path);
                assert_int_equal(json_is_true(json_object_get(param, "required")), p->required);
            }
        }
        assert_int_equal(json_array_size(json_object_get(op, "parameters")), n);
    }
}

/* Every {"$ref"} leads somewhere. */
static void check_refs(const json_t *v)
{
    const char *key;
    size_t i;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)v, key, item)
    {
        if (strcmp(key, "$ref") == 0) {
            char kind[32], name[64];
            assert_int_equal(sscanf(json_string_value(item), "#/components/%31[^/]/%63s", kind, name), 2);
            assert_non_null(json_object_get(json_object_get(json_object_get(doc, "components"), kind), name));
        }
        check_refs(item);
    }
    json_array_foreach(v, i, item)
    {
        check_refs(item);
    }
}

static void test_references_lead_somewhere(void **state)
{
    (void)state;
    check_refs(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_route_is_described),
        cmocka_unit_test(test_nothing_else_is_described),
        cmocka_unit_test(test_parameters_are_described),
        cmocka_unit_test(test_references_lead_somewhere),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
