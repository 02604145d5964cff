"""`warrener doctor`: one module for each thing it looks at. To look is apart from to judge, which is pure."""
