; Enumerations and constants; plain calls, base classes, traits, types and uses.

(enum_declaration name: (name) @name) @definition.type
(const_element (name) @name) @definition.constant
(base_clause (name) @name) @reference.class
(use_declaration (name) @name) @reference.class
(named_type (name) @name) @reference.type
(namespace_use_clause (qualified_name (name) @name)) @reference.import
(object_creation_expression (name) @name) @reference.class
(function_call_expression function: (name) @name) @reference.call
(scoped_call_expression scope: (name) @name) @reference.class
