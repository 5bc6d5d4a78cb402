; Constants, and base classes.

(assignment left: (constant) @name) @definition.constant
(superclass (constant) @name) @reference.class
(superclass (scope_resolution name: (constant) @name)) @reference.class
