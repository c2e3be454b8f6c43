// All of the scripts are there.

begin();
