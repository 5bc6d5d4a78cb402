; Namespaces, aliases and macros; what is called or named as a type.

(namespace_definition) @scope
(alias_declaration name: (type_identifier) @name) @definition.type
(preproc_function_def name: (identifier) @name) @definition.macro
(preproc_def name: (identifier) @name value: (_)) @definition.constant
(call_expression function: (identifier) @name) @reference.call
(call_expression function: (field_expression field: (field_identifier) @name)) @reference.call
(call_expression function: (qualified_identifier name: (identifier) @name)) @reference.call
(type_identifier) @name @reference.type
(function_declarator declarator: (qualified_identifier
  name: (qualified_identifier name: (identifier) @name))) @definition.method
(function_declarator declarator: (qualified_identifier
  scope: (template_type) name: (identifier) @name)) @definition.method
