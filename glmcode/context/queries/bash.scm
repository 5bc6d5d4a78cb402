; The wheel ships no query for tags. Variables of the script itself are definitions where they
; are exported; a command that is called may be a function of another file.

(function_definition name: (word) @name) @definition.function
(declaration_command (variable_assignment name: (variable_name) @name)) @definition.constant
(command name: (command_name (word) @name)) @reference.call
