; Constants and variables of a package, and the methods of an interface.

(source_file (const_declaration (const_spec name: (identifier) @name) @definition.constant))
(source_file (var_declaration (var_spec name: (identifier) @name) @definition.constant))
(method_elem name: (field_identifier) @name) @definition.method
(qualified_type name: (type_identifier) @name) @reference.type
